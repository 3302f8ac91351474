package talks_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

func TestListTalksReturnsEmptyChannel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	response := s.list(t, &talkspb.ListTalksRequest{Parent: channel})
	if len(response.Talks) != 0 || response.Channel.GetName() != channel || response.NextPageToken != "" || response.PreviousPageToken != "" {
		t.Errorf("got %v", response)
	}
}

// importCatalogue imports talks into a channel. Pairs of talks share a publish time.
func (s *site) importCatalogue(t *testing.T, event string, talks int) {
	t.Helper()
	r := &talkspb.BatchImportTalksRequest{Channels: []*talkspb.Channel{{Name: "channels/" + event, Title: event}}}
	began := time.Date(2019, 5, 3, 9, 0, 0, 0, time.UTC)
	for i := range talks {
		r.Talks = append(r.Talks, &talkspb.Talk{
			Name: fmt.Sprintf("channels/%s/talks/talk-%d", event, i), Title: fmt.Sprintf("Talk %d of %s", i, event),
			Description: strings.Repeat("databases ", i%5), Tags: []string{"go"}, Language: "eng",
			PublishTime: timestamppb.New(began.Add(time.Duration(i/2) * time.Minute)),
		})
	}
	if _, err := s.talks.BatchImportTalks(t.Context(), r); err != nil {
		t.Fatal(err)
	}
}

// For every filter, the pages list each talk once, in the same order forward and backward.
func TestListTalksPagesForwardAndBackward(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importCatalogue(t, "north", 53)
	s.importCatalogue(t, "south", 20)
	for name, c := range map[string]struct {
		request *talkspb.ListTalksRequest
		want    int
	}{
		"all":               {&talkspb.ListTalksRequest{}, 73},
		"channel":           {&talkspb.ListTalksRequest{Parent: "channels/north"}, 53},
		"language":          {&talkspb.ListTalksRequest{Language: "eng"}, 73},
		"tag":               {&talkspb.ListTalksRequest{Tag: " GO "}, 73},
		"channel and tag":   {&talkspb.ListTalksRequest{Parent: "channels/north", Tag: "go", Language: "eng"}, 53},
		"search":            {&talkspb.ListTalksRequest{Query: "talk"}, 73},
		"search in channel": {&talkspb.ListTalksRequest{Query: "talk", Parent: "channels/south"}, 20},
		"search filtered":   {&talkspb.ListTalksRequest{Query: "databases", Tag: "go", Language: "eng", Parent: "channels/north"}, 42},
		"without":           {&talkspb.ListTalksRequest{Query: "-databases"}, 15},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			page := func(token string) *talkspb.ListTalksResponse {
				return s.list(t, &talkspb.ListTalksRequest{
					Parent: c.request.Parent, Query: c.request.Query, Language: c.request.Language, Tag: c.request.Tag, PageSize: 7, PageToken: token,
				})
			}
			var forward []string
			var last *talkspb.ListTalksResponse
			for token := ""; ; token = last.NextPageToken {
				last = page(token)
				for _, talk := range last.Talks {
					forward = append(forward, talk.Name)
					if talk.Description != "" {
						t.Fatal("got a description in a list, want none")
					}
				}
				if last.NextPageToken == "" {
					break
				}
			}
			if len(forward) != c.want || len(slices.Compact(slices.Sorted(slices.Values(forward)))) != c.want {
				t.Fatalf("got %d talks, want %d, each once", len(forward), c.want)
			}
			back := []string{}
			for token := last.PreviousPageToken; token != ""; {
				response := page(token)
				var names []string
				for _, talk := range response.Talks {
					names = append(names, talk.Name)
				}
				back = append(names, back...)
				token = response.PreviousPageToken
			}
			if want := forward[:len(forward)-len(last.Talks)]; !slices.Equal(back, want) {
				t.Errorf("backward: got\n%v, want\n%v", back, want)
			}
		})
	}
}

func TestPageIsStableWhenTalksArePublished(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importCatalogue(t, "north", 30)
	first := s.list(t, &talkspb.ListTalksRequest{PageSize: 10})
	before := titles(s.list(t, &talkspb.ListTalksRequest{PageSize: 10, PageToken: first.NextPageToken}))
	s.importTalks(t, "later", "New", "Newer", "Newest")
	after := titles(s.list(t, &talkspb.ListTalksRequest{PageSize: 10, PageToken: first.NextPageToken}))
	if !slices.Equal(before, after) {
		t.Errorf("second page: got %v, want %v", after, before)
	}
}

func TestForgedPageTokensAreRejected(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importCatalogue(t, "north", 30)
	next := s.list(t, &talkspb.ListTalksRequest{PageSize: 10}).NextPageToken
	plain, err := base64.RawURLEncoding.DecodeString(next)
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"1", "null", "AAAA", next[1:], next + "A", next + "=", strings.Repeat("A", 1000), base64.RawURLEncoding.EncodeToString(append(plain, ' ')), "\xff"} {
		_, err := s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{PageToken: token})
		wantFailure(t, err, "PAGE_TOKEN_INVALID")
		_, err = s.channels.ListChannels(t.Context(), &talkspb.ListChannelsRequest{PageToken: token})
		wantFailure(t, err, "PAGE_TOKEN_INVALID")
	}
	for _, r := range []*talkspb.ListTalksRequest{{Query: "x"}, {Language: "eng"}, {Tag: "go"}, {Parent: "channels/north"}} {
		r.PageToken = next
		_, err := s.talks.ListTalks(t.Context(), r)
		wantFailure(t, err, "PAGE_TOKEN_INVALID")
	}
	// A well-formed token with a made-up key only starts the list elsewhere.
	for _, key := range []string{
		`{"i":-9223372036854775808}`, `{"t":"0001-01-01T00:00:01Z","i":1}`, `{"t":"9999-12-31T23:59:59.999999999Z","i":9223372036854775807}`, `{"t":"0000-01-01T00:00:00Z","i":0}`,
	} {
		forged := base64.RawURLEncoding.EncodeToString([]byte(string(plain[:strings.Index(string(plain), `"k":`)+4]) + key + "}"))
		if _, err := s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{PageToken: forged}); err != nil {
			wantFailure(t, err, "PAGE_TOKEN_INVALID")
		}
	}
}

func TestSearchFoldsCaseAndAccents(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importTalks(t, "event", "Déjà vu in Zürich", "Naïve Bayes", "Running tests")
	for query, want := range map[string]string{
		"deja VU": "Déjà vu in Zürich", "ZURICH": "Déjà vu in Zürich", "zürich": "Déjà vu in Zürich",
		"naive": "Naïve Bayes", "naïve": "Naïve Bayes", "run test": "Running tests",
	} {
		if found := titles(s.list(t, &talkspb.ListTalksRequest{Query: query})); !slices.Equal(found, []string{want}) {
			t.Errorf("%q: got %v, want [%s]", query, found, want)
		}
	}
}

func TestSearchRanksTitleMatchesFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	s.publish(t, ada, channel, &talkspb.Talk{Title: "Something else", Description: strings.Repeat("Postgres, and Postgres again. ", 20)})
	s.publish(t, ada, channel, &talkspb.Talk{Title: "Postgres"})
	s.publish(t, ada, channel, &talkspb.Talk{Title: "Another", Tags: []string{"postgres"}})
	s.publish(t, ada, channel, &talkspb.Talk{Title: "By hand", Speakers: []string{"Ada Postgres"}})
	found := titles(s.list(t, &talkspb.ListTalksRequest{Query: "postgres"}))
	if len(found) != 4 || found[0] != "Postgres" || found[3] != "Something else" {
		t.Errorf("got %v, want Postgres first and Something else last of 4", found)
	}
}

func TestSearchUnderstandsQuotesAndOperators(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importTalks(t, "event", "Event sourcing", "Sourcing an event", "Queues")
	for query, want := range map[string][]string{
		`"event sourcing"`: {"Event sourcing"}, `event -"event sourcing"`: {"Sourcing an event"}, "queues or nothing": {"Queues"},
		`"`: nil, "the": nil, "& | ! ( ) : *": nil, `' or 1=1 --`: nil, "queues:*": {"Queues"}, "\u2028": {"Queues", "Sourcing an event", "Event sourcing"},
	} {
		if found := titles(s.list(t, &talkspb.ListTalksRequest{Query: query})); !slices.Equal(found, want) {
			t.Errorf("%q: got %v, want %v", query, found, want)
		}
	}
}

func TestPageSizeIsDefaultedAndCapped(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.importCatalogue(t, "north", 130)
	for size, want := range map[int32]int{0: 20, 1: 1, 100: 100, 101: 100, 1 << 30: 100} {
		if got := len(s.list(t, &talkspb.ListTalksRequest{PageSize: size}).Talks); got != want {
			t.Errorf("page size %d: got %d talks, want %d", size, got, want)
		}
	}
}
