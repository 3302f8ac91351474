package talks_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"techtalks.example/logic-tier/modules/talks"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

const requestID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"

func TestPublishStoresTalkAndPublishesMessage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	published := s.publish(t, ada, channel, &talkspb.Talk{
		Name: "channels/other/talks/ignored", Title: "  Größe <b>ist</b> nicht alles ", Speakers: []string{" Ada ", "", "Grace", "Ada"},
		Language: "deu", Tags: []string{"Go", " go ", "SQL"}, Description: "# Why\n", MediaUrl: "https://example.org/a.mp4",
		Duration: durationpb.New(90 * time.Second), RecordedDate: "2019-05-03",
	})
	if published.Name != channel+"/talks/grosse-b-ist-b-nicht-alles" {
		t.Errorf("got name %s", published.Name)
	}
	response, err := s.talks.GetTalk(asPerson(t, ada), &talkspb.GetTalkRequest{Name: strings.ToUpper(published.Name[:9]) + published.Name[9:]})
	if err != nil {
		t.Fatal(err)
	}
	got := response.Talk
	if got.Title != "Größe <b>ist</b> nicht alles" || !slices.Equal(got.Speakers, []string{"Ada", "Grace"}) || !slices.Equal(got.Tags, []string{"go", "sql"}) ||
		got.Description != "# Why" || got.Duration.AsDuration() != 90*time.Second || got.RecordedDate != "2019-05-03" || got.ChannelTitle != "Channel lakeside" {
		t.Errorf("got %v", got)
	}
	if !got.CanEdit {
		t.Error("got CanEdit false for the publisher, want true")
	}
	if n := s.publishedCount(t); n != 1 {
		t.Errorf("got %d messages, want 1", n)
	}
	s.checkTalkCounts(t)
}

func TestSlugDerivesFromTitle(t *testing.T) {
	t.Parallel()
	for title, want := range map[string]string{
		"Software architecture and communication design patterns": "software-architecture-and-communication-design-patterns",
		"  Ça va? – ŁÓDŹ's Straße, Ærø & co. ":                    "ca-va-lodzs-strasse-aero-co",
		"ﬁve ²":                     "five-2",
		strings.Repeat("long ", 40): strings.Repeat("long-", 15) + "long",
	} {
		if got := talks.SlugOf(title); got != want || len(got) > 100 {
			t.Errorf("SlugOf(%q) = %q, want %q", title, got, want)
		}
	}
	if got := talks.SlugOf("数据库 🐘"); !strings.HasPrefix(got, "talk-") || len(got) < 8 {
		t.Errorf("title without ASCII letters: got slug %q, want a random one", got)
	}
}

func TestTalksWithSameTitleGetDistinctNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	first := s.publish(t, ada, channel, &talkspb.Talk{Title: "Keynote"})
	second := s.publish(t, ada, channel, &talkspb.Talk{Title: "Keynote"})
	if first.Name == second.Name {
		t.Errorf("got name %s for both talks, want distinct names", first.Name)
	}
	s.checkTalkCounts(t)
}

// Requests with the same id, sequential or concurrent, publish one talk and one message.
func TestPublishIsIdempotentPerRequestID(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	var mu sync.Mutex
	names := map[string]bool{}
	send := func(id string) {
		response, err := s.talks.CreateTalk(asPerson(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{Title: "Once"}, RequestId: id})
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		names[response.Talk.Name] = true
	}
	var sending sync.WaitGroup
	for range 8 {
		sending.Go(func() { send(requestID) })
	}
	sending.Wait()
	send(strings.ToUpper(requestID))
	if len(names) != 1 || s.publishedCount(t) != 1 {
		t.Errorf("got talks %v and %d messages, want 1 of each", names, s.publishedCount(t))
	}
	s.checkTalkCounts(t)

	// Another account's request can have the same id.
	other := s.createChannel(t, grace, "elsewhere")
	response, err := s.talks.CreateTalk(asPerson(t, grace), &talkspb.CreateTalkRequest{Parent: other, Talk: &talkspb.Talk{Title: "Hers"}, RequestId: requestID})
	if err != nil || response.Talk.Title != "Hers" {
		t.Errorf("another account's request: got %v, %v", response, err)
	}
}

func TestSweepDeletesRequestsAfterADay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	if _, err := s.talks.CreateTalk(asPerson(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{Title: "Old"}, RequestId: requestID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.admin.Exec(`
		insert into talks.request (id, account_id, talk_id, created_at)
		select gen_random_uuid(), 1, (select id from talks.talk), now() - interval '1 day'
		from   generate_series(1, 2500)`); err != nil {
		t.Fatal(err)
	}
	if err := talks.SweepOnce(s.module, t.Context()); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := s.admin.QueryRow(`select count(*) from talks.request`).Scan(&left); err != nil || left != 1 {
		t.Errorf("got %d requests left, %v; want 1", left, err)
	}
}

func TestOnlyOwnerCanPublishUpdateAndWithdraw(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	talk := s.publish(t, ada, channel, &talkspb.Talk{Title: "Mine"})
	s.importTalks(t, "event", "Imported")
	for _, foreign := range []struct{ channel, talk string }{{channel, talk.Name}, {"channels/event", "channels/event/talks/talk-0"}} {
		_, err := s.talks.CreateTalk(asPerson(t, grace), &talkspb.CreateTalkRequest{Parent: foreign.channel, Talk: &talkspb.Talk{Title: "Hers"}})
		wantFailure(t, err, "NOT_CHANNEL_OWNER")
		_, err = s.talks.UpdateTalk(asPerson(t, grace), &talkspb.UpdateTalkRequest{Talk: &talkspb.Talk{Name: foreign.talk, Title: "Hers"}})
		wantFailure(t, err, "NOT_CHANNEL_OWNER")
		_, err = s.talks.WithdrawTalk(asPerson(t, grace), &talkspb.WithdrawTalkRequest{Name: foreign.talk})
		wantFailure(t, err, "NOT_CHANNEL_OWNER")
	}
	_, err := s.talks.CreateTalk(asPerson(t, ada), &talkspb.CreateTalkRequest{Parent: "channels/nowhere", Talk: &talkspb.Talk{Title: "Lost"}})
	wantFailure(t, err, "CHANNEL_NOT_FOUND")
	if n := s.publishedCount(t); n != 1 {
		t.Errorf("got %d messages, want 1", n)
	}
}

func TestPublishRejectsInvalidTalk(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	for field, talk := range map[string]*talkspb.Talk{
		"talk.title":         {Title: " \u2003 "},
		"talk.recorded_date": {Title: "Day", RecordedDate: "2019-02-30"},
		"talk.duration":      {Title: "Long", Duration: durationpb.New(1 << 60)},
	} {
		_, err := s.talks.CreateTalk(asPerson(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: talk})
		wantFieldFailure(t, err, field)
	}
	_, err := s.talks.CreateTalk(asPerson(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{Title: "Back", Duration: durationpb.New(-time.Second)}})
	wantFieldFailure(t, err, "talk.duration")
	if n := s.publishedCount(t); n != 0 {
		t.Errorf("got %d messages, want 0", n)
	}
}

// invisibleNames are names with characters that are invisible or change how others look.
var invisibleNames = []string{"\u200b", "\u3164", "\u2800", "\u202egnp.exe", "a\u0085b", "a\u200bb", "\ufffd\u2066"}

func TestNamesWithInvisibleCharactersAreRejected(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	talk := s.publish(t, ada, channel, &talkspb.Talk{Title: "Fine"})
	for _, name := range invisibleNames {
		_, err := s.channels.CreateChannel(asPerson(t, ada), &talkspb.CreateChannelRequest{ChannelId: "other", Title: name})
		wantFieldFailure(t, err, "title")
		for field, talk := range map[string]*talkspb.Talk{
			"talk.title":       {Title: name},
			"talk.speakers[1]": {Title: "Fine", Speakers: []string{"Ada", name}},
			"talk.tags[0]":     {Title: "Fine", Tags: []string{name}},
		} {
			_, err := s.talks.CreateTalk(asPerson(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: talk})
			wantFieldFailure(t, err, field)
		}
		_, err = s.talks.UpdateTalk(asPerson(t, ada), &talkspb.UpdateTalkRequest{
			Talk: &talkspb.Talk{Name: talk.Name, Title: name}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"title"}},
		})
		wantFieldFailure(t, err, "talk.title")
	}
}

func TestImportRejectsNamesWithInvisibleCharacters(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range invisibleNames {
		r := batch("event", name, 3)
		r.Talks[0].Title, r.Talks[1].Speakers, r.Talks[2].Tags = name, []string{name}, []string{name}
		_, err := s.talks.BatchImportTalks(t.Context(), r)
		var fields []string
		for _, v := range wantFailure(t, err, "FIELDS_INVALID").Violations {
			fields = append(fields, v.Field)
		}
		if want := []string{"channels[0].title", "talks[0].title", "talks[1].speakers[0]", "talks[2].tags[0]"}; !slices.Equal(fields, want) {
			t.Errorf("%+q: got violations of %v, want %v", name, fields, want)
		}
	}
}

func TestNamesAreNormalized(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	talk := s.publish(t, ada, s.createChannel(t, ada, "lakeside"), &talkspb.Talk{
		Title: " E\u0301coute ", Speakers: []string{"Zoe\u0308", "Zo\u00eb", " "}, Tags: []string{"E\u0301t\u00e9", "\u00e9te\u0301"},
	})
	if talk.Title != "\u00c9coute" || !slices.Equal(talk.Speakers, []string{"Zo\u00eb"}) || !slices.Equal(talk.Tags, []string{"\u00e9t\u00e9"}) {
		t.Errorf("got %+q, %+q, %+q", talk.Title, talk.Speakers, talk.Tags)
	}
}

func TestRecordedDateInFutureIsRejected(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	day := func(days int) *talkspb.CreateTalkRequest {
		recorded := time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly)
		return &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{Title: "Day", RecordedDate: recorded}}
	}
	for _, days := range []int{3, 365, 63_000} {
		_, err := s.talks.CreateTalk(asPerson(t, ada), day(days))
		wantFieldFailure(t, err, "talk.recorded_date")
	}
	if _, err := s.talks.CreateTalk(asPerson(t, ada), day(0)); err != nil {
		t.Errorf("today: %v", err)
	}
}

func TestUpdateChangesOnlyFieldsInMask(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	talk := s.publish(t, ada, s.createChannel(t, ada, "lakeside"), &talkspb.Talk{Title: "Old", Description: "stays", Tags: []string{"go"}, Language: "eng"})
	update := func(change *talkspb.Talk, fields ...string) (*talkspb.Talk, error) {
		change.Name = talk.Name
		response, err := s.talks.UpdateTalk(asPerson(t, ada), &talkspb.UpdateTalkRequest{Talk: change, UpdateMask: &fieldmaskpb.FieldMask{Paths: fields}})
		return response.GetTalk(), err
	}
	got, err := update(&talkspb.Talk{Title: "New", Description: "not this"}, "title")
	if err != nil || got.Title != "New" || got.Description != "stays" || got.Name != talk.Name {
		t.Errorf("title only: got %v, %v", got, err)
	}
	if found := titles(s.list(t, &talkspb.ListTalksRequest{Query: "new"})); !slices.Equal(found, []string{"New"}) {
		t.Errorf("search for the new title: got %v, want [New]", found)
	}
	if found := titles(s.list(t, &talkspb.ListTalksRequest{Query: "old"})); len(found) != 0 {
		t.Errorf("search for the old title: got %v, want none", found)
	}
	if got, err = update(&talkspb.Talk{Title: "All"}); err != nil || got.Title != "All" || got.Description != "" || len(got.Tags) != 0 || got.Language != "" {
		t.Errorf("without a mask: got %v, %v", got, err)
	}
	for _, field := range []string{"name", "publish_time", "talk.title", "*", ""} {
		_, err := update(&talkspb.Talk{Title: "X"}, field)
		wantFieldFailure(t, err, "update_mask")
		if !strings.Contains(err.Error(), "media_url") {
			t.Errorf("got %v, want the error to name the updatable fields", err)
		}
	}
	_, err = update(&talkspb.Talk{}, "title")
	wantFieldFailure(t, err, "talk.title")
	if n := s.publishedCount(t); n != 1 {
		t.Errorf("got %d messages, want 1: an update publishes none", n)
	}
}

func TestWithdrawnTalkIsNotListed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	talk := s.publish(t, ada, channel, &talkspb.Talk{Title: "Regretted", Language: "eng", Tags: []string{"go"}})
	for range 2 { // idempotent
		if _, err := s.talks.WithdrawTalk(asPerson(t, ada), &talkspb.WithdrawTalkRequest{Name: talk.Name}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.talks.GetTalk(asPerson(t, ada), &talkspb.GetTalkRequest{Name: talk.Name})
	wantFailure(t, err, "TALK_WITHDRAWN")
	_, err = s.talks.UpdateTalk(asPerson(t, ada), &talkspb.UpdateTalkRequest{Talk: &talkspb.Talk{Name: talk.Name, Title: "Again"}})
	wantFailure(t, err, "TALK_WITHDRAWN")
	for _, r := range []*talkspb.ListTalksRequest{{}, {Parent: channel}, {Query: "regretted"}, {Language: "eng"}, {Tag: "go"}} {
		if found := titles(s.list(t, r)); len(found) != 0 {
			t.Errorf("%v: got %v, want none", r, found)
		}
	}
	languages, err := s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{})
	if err != nil || len(languages.Languages) != 0 {
		t.Errorf("got languages %v, %v; want none", languages, err)
	}
	s.checkTalkCounts(t)
}

func TestListTalksReturnsDistinctLanguages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	for i, language := range []string{"spa", "eng", "", "deu", "eng"} {
		s.publish(t, ada, channel, &talkspb.Talk{Title: fmt.Sprint("Talk ", i), Language: language})
	}
	response, err := s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{})
	if err != nil || !slices.Equal(response.Languages, []string{"deu", "eng", "spa"}) {
		t.Errorf("got %v, %v", response, err)
	}
}

// A talk is not stored if its message cannot be published.
func TestTalkAndMessageCommitTogether(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.createChannel(t, ada, "lakeside")
	if _, err := s.admin.Exec(`alter table queue.message rename to message_elsewhere`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.talks.CreateTalk(asPerson(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{Title: "Unheard"}, RequestId: requestID}); err == nil {
		t.Fatal("got no error, want publishing to fail without the message")
	}
	if found := titles(s.list(t, &talkspb.ListTalksRequest{Parent: channel})); len(found) != 0 {
		t.Errorf("got talks %v, want none", found)
	}
	s.checkTalkCounts(t)
}
