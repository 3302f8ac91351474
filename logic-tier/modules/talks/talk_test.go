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

func TestPublishedTalkIsThereAndSaid(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	made := s.publish(t, ada, channel, &talkspb.Talk{
		Name: "channels/other/talks/ignored", Title: "  Größe <b>ist</b> nicht alles ", Speakers: []string{" Ada ", "", "Grace", "Ada"},
		Language: "deu", Tags: []string{"Go", " go ", "SQL"}, Description: "# Why\n", MediaUrl: "https://example.org/a.mp4",
		Duration: durationpb.New(90 * time.Second), RecordedDate: "2019-05-03",
	})
	if made.Name != channel+"/talks/grosse-b-ist-b-nicht-alles" {
		t.Errorf("named %s", made.Name)
	}
	answer, err := s.talks.GetTalk(as(t, ada), &talkspb.GetTalkRequest{Name: strings.ToUpper(made.Name[:9]) + made.Name[9:]})
	if err != nil {
		t.Fatal(err)
	}
	got := answer.Talk
	if got.Title != "Größe <b>ist</b> nicht alles" || !slices.Equal(got.Speakers, []string{"Ada", "Grace"}) || !slices.Equal(got.Tags, []string{"go", "sql"}) ||
		got.Description != "# Why" || got.Duration.AsDuration() != 90*time.Second || got.RecordedDate != "2019-05-03" || got.ChannelTitle != "Channel lakeside" {
		t.Errorf("kept as %v", got)
	}
	if !got.CanEdit {
		t.Error("its publisher may not edit it")
	}
	if n := s.said(t); n != 1 {
		t.Errorf("%d messages", n)
	}
	s.countsAreRight(t)
}

func TestSlugs(t *testing.T) {
	t.Parallel()
	for title, want := range map[string]string{
		"Software architecture and communication design patterns": "software-architecture-and-communication-design-patterns",
		"  Ça va? – ŁÓDŹ's Straße, Ærø & co. ":                    "ca-va-lodzs-strasse-aero-co",
		"ﬁve ²":                     "five-2",
		strings.Repeat("long ", 40): strings.Repeat("long-", 15) + "long",
	} {
		if got := talks.SlugOf(title); got != want || len(got) > 100 {
			t.Errorf("%q is named %q", title, got)
		}
	}
	if got := talks.SlugOf("数据库 🐘"); !strings.HasPrefix(got, "talk-") || len(got) < 8 {
		t.Errorf("a title without a letter of ours is named %q", got)
	}
}

func TestSameTitleTwiceIsTwoTalks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	first := s.publish(t, ada, channel, &talkspb.Talk{Title: "Keynote"})
	second := s.publish(t, ada, channel, &talkspb.Talk{Title: "Keynote"})
	if first.Name == second.Name {
		t.Errorf("both are %s", first.Name)
	}
	s.countsAreRight(t)
}

// A form sent twice, one after the other or at once, is one talk; its followers
// are told once.
func TestSameRequestIsOneTalk(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	var mu sync.Mutex
	names := map[string]bool{}
	send := func(id string) {
		answer, err := s.talks.CreateTalk(as(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{Title: "Once"}, RequestId: id})
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		names[answer.Talk.Name] = true
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { send(requestID) })
	}
	all.Wait()
	send(strings.ToUpper(requestID))
	if len(names) != 1 || s.said(t) != 1 {
		t.Errorf("talks %v, %d messages", names, s.said(t))
	}
	s.countsAreRight(t)

	// Somebody else's form may have the same id.
	other := s.channel(t, grace, "elsewhere")
	answer, err := s.talks.CreateTalk(as(t, grace), &talkspb.CreateTalkRequest{Parent: other, Talk: &talkspb.Talk{Title: "Hers"}, RequestId: requestID})
	if err != nil || answer.Talk.Title != "Hers" {
		t.Errorf("somebody else's: %v, %v", answer, err)
	}
}

func TestRequestsAreForgottenAfterADay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	if _, err := s.talks.CreateTalk(as(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{Title: "Old"}, RequestId: requestID}); err != nil {
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
		t.Errorf("%d requests are left, %v", left, err)
	}
}

func TestOnlyTheOwnerPublishesEditsAndWithdraws(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	talk := s.publish(t, ada, channel, &talkspb.Talk{Title: "Mine"})
	s.imported(t, "event", "Imported")
	for _, mine := range []struct{ channel, talk string }{{channel, talk.Name}, {"channels/event", "channels/event/talks/talk-0"}} {
		_, err := s.talks.CreateTalk(as(t, grace), &talkspb.CreateTalkRequest{Parent: mine.channel, Talk: &talkspb.Talk{Title: "Hers"}})
		wants(t, err, "NOT_CHANNEL_OWNER")
		_, err = s.talks.UpdateTalk(as(t, grace), &talkspb.UpdateTalkRequest{Talk: &talkspb.Talk{Name: mine.talk, Title: "Hers"}})
		wants(t, err, "NOT_CHANNEL_OWNER")
		_, err = s.talks.WithdrawTalk(as(t, grace), &talkspb.WithdrawTalkRequest{Name: mine.talk})
		wants(t, err, "NOT_CHANNEL_OWNER")
	}
	_, err := s.talks.CreateTalk(as(t, ada), &talkspb.CreateTalkRequest{Parent: "channels/nowhere", Talk: &talkspb.Talk{Title: "Lost"}})
	wants(t, err, "CHANNEL_NOT_FOUND")
	if n := s.said(t); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestTalkThatCannotBeTaken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	for field, talk := range map[string]*talkspb.Talk{
		"talk.title":         {Title: " \u2003 "},
		"talk.recorded_date": {Title: "Day", RecordedDate: "2019-02-30"},
		"talk.duration":      {Title: "Long", Duration: durationpb.New(1 << 60)},
	} {
		_, err := s.talks.CreateTalk(as(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: talk})
		wantsField(t, err, field)
	}
	_, err := s.talks.CreateTalk(as(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{Title: "Back", Duration: durationpb.New(-time.Second)}})
	wantsField(t, err, "talk.duration")
	if n := s.said(t); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// hiding are names that are invisible, or not what they look like.
var hiding = []string{"\u200b", "\u3164", "\u2800", "\u202egnp.exe", "a\u0085b", "a\u200bb", "\ufffd\u2066"}

func TestNamesThatHideSomethingAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	talk := s.publish(t, ada, channel, &talkspb.Talk{Title: "Fine"})
	for _, name := range hiding {
		_, err := s.channels.CreateChannel(as(t, ada), &talkspb.CreateChannelRequest{ChannelId: "other", Title: name})
		wantsField(t, err, "title")
		for field, talk := range map[string]*talkspb.Talk{
			"talk.title":       {Title: name},
			"talk.speakers[1]": {Title: "Fine", Speakers: []string{"Ada", name}},
			"talk.tags[0]":     {Title: "Fine", Tags: []string{name}},
		} {
			_, err := s.talks.CreateTalk(as(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: talk})
			wantsField(t, err, field)
		}
		_, err = s.talks.UpdateTalk(as(t, ada), &talkspb.UpdateTalkRequest{
			Talk: &talkspb.Talk{Name: talk.Name, Title: name}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"title"}},
		})
		wantsField(t, err, "talk.title")
	}
}

func TestImportedNamesThatHideSomethingAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range hiding {
		r := batch("event", name, 3)
		r.Talks[0].Title, r.Talks[1].Speakers, r.Talks[2].Tags = name, []string{name}, []string{name}
		_, err := s.talks.BatchImportTalks(t.Context(), r)
		var fields []string
		for _, v := range wants(t, err, "FIELDS_INVALID").Violations {
			fields = append(fields, v.Field)
		}
		if want := []string{"channels[0].title", "talks[0].title", "talks[1].speakers[0]", "talks[2].tags[0]"}; !slices.Equal(fields, want) {
			t.Errorf("%+q: named are %v, want %v", name, fields, want)
		}
	}
}

func TestNamesAreNormalized(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	talk := s.publish(t, ada, s.channel(t, ada, "lakeside"), &talkspb.Talk{
		Title: " E\u0301coute ", Speakers: []string{"Zoe\u0308", "Zo\u00eb", " "}, Tags: []string{"E\u0301t\u00e9", "\u00e9te\u0301"},
	})
	if talk.Title != "\u00c9coute" || !slices.Equal(talk.Speakers, []string{"Zo\u00eb"}) || !slices.Equal(talk.Tags, []string{"\u00e9t\u00e9"}) {
		t.Errorf("got %+q, %+q, %+q", talk.Title, talk.Speakers, talk.Tags)
	}
}

func TestRecordedDateInFutureIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	day := func(days int) *talkspb.CreateTalkRequest {
		recorded := time.Now().UTC().AddDate(0, 0, days).Format(time.DateOnly)
		return &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{Title: "Day", RecordedDate: recorded}}
	}
	for _, days := range []int{3, 365, 63_000} {
		_, err := s.talks.CreateTalk(as(t, ada), day(days))
		wantsField(t, err, "talk.recorded_date")
	}
	if _, err := s.talks.CreateTalk(as(t, ada), day(0)); err != nil {
		t.Errorf("today: %v", err)
	}
}

func TestUpdateChangesWhatTheMaskNames(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	talk := s.publish(t, ada, s.channel(t, ada, "lakeside"), &talkspb.Talk{Title: "Old", Description: "stays", Tags: []string{"go"}, Language: "eng"})
	update := func(change *talkspb.Talk, fields ...string) (*talkspb.Talk, error) {
		change.Name = talk.Name
		answer, err := s.talks.UpdateTalk(as(t, ada), &talkspb.UpdateTalkRequest{Talk: change, UpdateMask: &fieldmaskpb.FieldMask{Paths: fields}})
		return answer.GetTalk(), err
	}
	got, err := update(&talkspb.Talk{Title: "New", Description: "not this"}, "title")
	if err != nil || got.Title != "New" || got.Description != "stays" || got.Name != talk.Name {
		t.Errorf("title alone: %v, %v", got, err)
	}
	if found := titles(s.list(t, &talkspb.ListTalksRequest{Query: "new"})); !slices.Equal(found, []string{"New"}) {
		t.Errorf("by its new word: %v", found)
	}
	if found := titles(s.list(t, &talkspb.ListTalksRequest{Query: "old"})); len(found) != 0 {
		t.Errorf("by its old word: %v", found)
	}
	if got, err = update(&talkspb.Talk{Title: "All"}); err != nil || got.Title != "All" || got.Description != "" || len(got.Tags) != 0 || got.Language != "" {
		t.Errorf("all: %v, %v", got, err)
	}
	for _, field := range []string{"name", "publish_time", "talk.title", "*", ""} {
		_, err := update(&talkspb.Talk{Title: "X"}, field)
		wantsField(t, err, "update_mask")
		if !strings.Contains(err.Error(), "media_url") {
			t.Errorf("it is not said which there are: %v", err)
		}
	}
	_, err = update(&talkspb.Talk{}, "title")
	wantsField(t, err, "talk.title")
	if n := s.said(t); n != 1 {
		t.Errorf("%d messages: an edit is nobody's news", n)
	}
}

func TestWithdrawnTalkIsFoundNowhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	talk := s.publish(t, ada, channel, &talkspb.Talk{Title: "Regretted", Language: "eng", Tags: []string{"go"}})
	for range 2 { // twice is as good as once
		if _, err := s.talks.WithdrawTalk(as(t, ada), &talkspb.WithdrawTalkRequest{Name: talk.Name}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.talks.GetTalk(as(t, ada), &talkspb.GetTalkRequest{Name: talk.Name})
	wants(t, err, "TALK_WITHDRAWN")
	_, err = s.talks.UpdateTalk(as(t, ada), &talkspb.UpdateTalkRequest{Talk: &talkspb.Talk{Name: talk.Name, Title: "Again"}})
	wants(t, err, "TALK_WITHDRAWN")
	for _, r := range []*talkspb.ListTalksRequest{{}, {Parent: channel}, {Query: "regretted"}, {Language: "eng"}, {Tag: "go"}} {
		if found := titles(s.list(t, r)); len(found) != 0 {
			t.Errorf("%v finds %v", r, found)
		}
	}
	languages, err := s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{})
	if err != nil || len(languages.Languages) != 0 {
		t.Errorf("languages %v, %v", languages, err)
	}
	s.countsAreRight(t)
}

func TestLanguages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	for i, language := range []string{"spa", "eng", "", "deu", "eng"} {
		s.publish(t, ada, channel, &talkspb.Talk{Title: fmt.Sprint("Talk ", i), Language: language})
	}
	answer, err := s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{})
	if err != nil || !slices.Equal(answer.Languages, []string{"deu", "eng", "spa"}) {
		t.Errorf("%v, %v", answer, err)
	}
}

// Nothing of a talk is kept whose message cannot be.
func TestTalkAndMessageAreThereTogetherOrNotAtAll(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "lakeside")
	if _, err := s.admin.Exec(`alter table queue.message rename to message_elsewhere`); err != nil {
		t.Fatal(err)
	}
	if _, err := s.talks.CreateTalk(as(t, ada), &talkspb.CreateTalkRequest{Parent: channel, Talk: &talkspb.Talk{Title: "Unheard"}, RequestId: requestID}); err == nil {
		t.Fatal("published without a message")
	}
	if found := titles(s.list(t, &talkspb.ListTalksRequest{Parent: channel})); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	s.countsAreRight(t)
}
