package talks_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// batch returns an import of a channel with the given number of talks.
func batch(event, title string, talks int) *talkspb.BatchImportTalksRequest {
	r := &talkspb.BatchImportTalksRequest{Channels: []*talkspb.Channel{{Name: "channels/" + event, Title: title}}}
	for i := range talks {
		r.Talks = append(r.Talks, &talkspb.Talk{
			Name: fmt.Sprintf("channels/%s/talks/talk-%d", event, i), Title: fmt.Sprint("Talk ", i), Speakers: []string{"Ada"}, Tags: []string{"Go"},
			PublishTime: timestamppb.New(time.Date(2019, 5, 3, 0, 0, 0, 0, time.UTC)), Duration: durationpb.New(time.Minute), RecordedDate: "2019-05-03",
		})
	}
	return r
}

func TestImportIsIdempotent(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, err := s.talks.BatchImportTalks(t.Context(), batch("event", "", 50))
	if err != nil || first.ChannelsCreated != 1 || first.TalksCreated != 50 {
		t.Fatalf("got %v, %v; want 1 channel and 50 talks created", first, err)
	}
	again, err := s.talks.BatchImportTalks(t.Context(), batch("event", "The Event", 60))
	if err != nil || again.ChannelsCreated != 0 || again.TalksCreated != 10 {
		t.Fatalf("got %v, %v; want 0 channels and 10 talks created", again, err)
	}
	response := s.list(t, &talkspb.ListTalksRequest{Parent: "channels/event"})
	if response.Channel.Title != "The Event" || response.Channel.TalkCount != 60 || response.Channel.Owner != "" {
		t.Errorf("got channel %v", response.Channel)
	}
	if got := response.Talks[0]; got.PublishTime.AsTime().Year() != 2019 || got.RecordedDate != "2019-05-03" || got.Duration.AsDuration() != time.Minute || !slices.Equal(got.Tags, []string{"go"}) {
		t.Errorf("got talk %v", got)
	}
	if n := s.publishedCount(t); n != 0 {
		t.Errorf("got %d messages, want 0", n)
	}
	s.checkTalkCounts(t)
}

// A publish time in the future must not keep a talk at the top of the lists.
func TestImportCapsPublishTime(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := batch("event", "Event", 3)
	r.Talks[0].PublishTime = timestamppb.New(time.Now().AddDate(170, 0, 0))
	r.Talks[1].PublishTime = nil
	if _, err := s.talks.BatchImportTalks(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.publish(t, ada, s.createChannel(t, ada, "lakeside"), &talkspb.Talk{Title: "News"})
	for _, parent := range []string{"", "channels/event"} {
		for _, talk := range s.list(t, &talkspb.ListTalksRequest{Parent: parent}).Talks {
			if talk.PublishTime.AsTime().After(time.Now().Add(time.Minute)) {
				t.Errorf("parent %q, %s: got publish time %v, want at most the time of the import", parent, talk.Title, talk.PublishTime.AsTime())
			}
		}
	}
	if got, want := titles(s.list(t, &talkspb.ListTalksRequest{})), []string{"News", "Talk 1", "Talk 0", "Talk 2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A worker that lost the response sends the batch again and gets the original counts.
func TestRetriedBatchReturnsOriginalCounts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := batch("event", "", 5)
	r.BatchId = "operations/one/0-5"
	for range 3 {
		if response, err := s.talks.BatchImportTalks(t.Context(), r); err != nil || response.ChannelsCreated != 1 || response.TalksCreated != 5 {
			t.Fatalf("got %v, %v; want 1 channel and 5 talks created", response, err)
		}
	}
	r.BatchId = "operations/two/0-5"
	if response, err := s.talks.BatchImportTalks(t.Context(), r); err != nil || response.ChannelsCreated != 0 || response.TalksCreated != 0 {
		t.Fatalf("got %v, %v; want nothing created", response, err)
	}
	s.checkTalkCounts(t)
}

func TestConcurrentImportsAddEachTalkOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var importing sync.WaitGroup
	for range 6 {
		importing.Go(func() {
			// Concurrent imports can conflict. One of them then fails as unavailable and
			// retries, as importers do.
			var f *apperror.Failure
			for {
				_, err := s.talks.BatchImportTalks(t.Context(), batch("event", "Event", 100))
				if errors.As(err, &f) && f.Kind == apperror.Unavailable {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	importing.Wait()
	if got := s.list(t, &talkspb.ListTalksRequest{Parent: "channels/event"}).Channel.TalkCount; got != 100 {
		t.Errorf("got %d talks, want 100", got)
	}
	s.checkTalkCounts(t)
}

// An operator's import neither adds talks to an account's channel nor renames it.
func TestImportDoesNotChangeOwnedChannels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.createChannel(t, ada, "lakeside")
	response, err := s.talks.BatchImportTalks(t.Context(), batch("lakeside", "Taken over", 3))
	if err != nil || response.ChannelsCreated != 0 || response.TalksCreated != 0 {
		t.Fatalf("got %v, %v; want nothing created", response, err)
	}
	list := s.list(t, &talkspb.ListTalksRequest{Parent: "channels/lakeside"})
	if list.Channel.Title != "Channel lakeside" || len(list.Talks) != 0 {
		t.Errorf("got %v, want the channel unchanged", list)
	}
}

// The failure names each invalid row, and nothing of the batch is imported.
func TestImportRejectsWholeBatchWithInvalidRows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := batch("event", "Event", 10)
	r.Channels = append(r.Channels, &talkspb.Channel{Name: "nonsense"}, &talkspb.Channel{Name: "channels/long", Title: strings.Repeat("x", 201)})
	r.Talks[1].Title = "\u2003"
	r.Talks[2].Name = "channels/event/talks/Not OK"
	r.Talks[3].PublishTime = &timestamppb.Timestamp{Seconds: math.MaxInt64}
	r.Talks[4].RecordedDate = "2019-02-30"
	r.Talks[5].Duration = &durationpb.Duration{Seconds: math.MinInt64}
	_, err := s.talks.BatchImportTalks(t.Context(), r)
	f := wantFailure(t, err, "FIELDS_INVALID")
	var fields []string
	for _, v := range f.Violations {
		fields = append(fields, v.Field)
	}
	if want := []string{"channels[1].name", "channels[2].title", "talks[1].title", "talks[2].name", "talks[3].publish_time", "talks[4].recorded_date", "talks[5].duration"}; !slices.Equal(fields, want) {
		t.Errorf("got violations of %v, want %v", fields, want)
	}
	_, err = s.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: "channels/event"})
	wantFailure(t, err, "CHANNEL_NOT_FOUND")
}

// A person's import creates channels that the person owns, within their quota.
func TestImportByAccountCreatesOwnedChannels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	owned := batch("mine", "Mine", 2)
	owned.OwnerId, owned.OwnerHandle = ada.ID, ada.Handle
	if response, err := s.talks.BatchImportTalks(t.Context(), owned); err != nil || response.ChannelsCreated != 1 || response.TalksCreated != 2 {
		t.Fatalf("got %v, %v; want 1 channel and 2 talks created", response, err)
	}
	if response, err := s.channels.GetChannel(asPerson(t, ada), &talkspb.GetChannelRequest{Name: "channels/mine"}); err != nil || response.Channel.Owner != "accounts/ada" || !response.Channel.CanPublish {
		t.Errorf("got %v, %v; want a channel of ada's", response, err)
	}
	// Imports by another account or an operator add nothing to it.
	for _, other := range []caller.Person{grace, {}} {
		r := batch("mine", "Taken over", 5)
		r.OwnerId, r.OwnerHandle = other.ID, other.Handle
		if response, err := s.talks.BatchImportTalks(t.Context(), r); err != nil || response.ChannelsCreated != 0 || response.TalksCreated != 0 {
			t.Errorf("%v: got %v, %v; want nothing created", other, response, err)
		}
	}
	overQuota := &talkspb.BatchImportTalksRequest{OwnerId: ada.ID, OwnerHandle: ada.Handle}
	for i := range 25 {
		overQuota.Channels = append(overQuota.Channels, &talkspb.Channel{Name: fmt.Sprintf("channels/event-%02d", i)})
	}
	overQuota.Channels = append(overQuota.Channels, &talkspb.Channel{Name: "channels/mine"})
	_, err := s.talks.BatchImportTalks(t.Context(), overQuota)
	f := wantFailure(t, err, "TOO_MANY_CHANNELS")
	if len(f.Violations) != 6 || f.Violations[0].Field != "channels[19]" || f.Kind != apperror.Invalid {
		t.Errorf("got violations %v, want 6 from channels[19]", f.Violations)
	}
	overQuota.Channels = append(overQuota.Channels[:19:19], overQuota.Channels[25])
	if response, err := s.talks.BatchImportTalks(t.Context(), overQuota); err != nil || response.ChannelsCreated != 19 {
		t.Errorf("got %v, %v; want 19 channels created", response, err)
	}
	response, err := s.channels.ListChannelsOfAccount(t.Context(), &talkspb.ListChannelsOfAccountRequest{AccountId: ada.ID})
	if err != nil || len(response.Channels) != 20 || response.Channels[0].Name != "channels/mine" {
		t.Errorf("got %v, %v; want 20 channels", response, err)
	}
	s.checkTalkCounts(t)
}

func TestListWholeTalksOrdersByNameWithDescriptions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "engines")
	for i := range 5 {
		s.publish(t, ada, channel, &talkspb.Talk{Title: fmt.Sprint("Talk ", i), Description: fmt.Sprint("About ", i)})
	}
	if _, err := s.talks.WithdrawTalk(asPerson(t, ada), &talkspb.WithdrawTalkRequest{Name: channel + "/talks/talk-3"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for token := ""; ; {
		response, err := s.talks.ListWholeTalks(t.Context(), &talkspb.ListWholeTalksRequest{Parent: channel, PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, talk := range response.Talks {
			got = append(got, talk.Name+": "+talk.Description)
		}
		if token = response.NextPageToken; token == "" {
			break
		}
	}
	if want := []string{
		"channels/engines/talks/talk-0: About 0", "channels/engines/talks/talk-1: About 1",
		"channels/engines/talks/talk-2: About 2", "channels/engines/talks/talk-4: About 4",
	}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	_, err := s.talks.ListWholeTalks(t.Context(), &talkspb.ListWholeTalksRequest{Parent: "channels/nowhere"})
	wantFailure(t, err, "CHANNEL_NOT_FOUND")
}
