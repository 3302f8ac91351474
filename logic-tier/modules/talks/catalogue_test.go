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

func TestImportTwiceAddsNothingTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, err := s.talks.BatchImportTalks(t.Context(), batch("event", "", 50))
	if err != nil || first.ChannelsCreated != 1 || first.TalksCreated != 50 {
		t.Fatalf("%v, %v", first, err)
	}
	again, err := s.talks.BatchImportTalks(t.Context(), batch("event", "The Event", 60))
	if err != nil || again.ChannelsCreated != 0 || again.TalksCreated != 10 {
		t.Fatalf("%v, %v", again, err)
	}
	answer := s.list(t, &talkspb.ListTalksRequest{Parent: "channels/event"})
	if answer.Channel.Title != "The Event" || answer.Channel.TalkCount != 60 || answer.Channel.Owner != "" {
		t.Errorf("channel is %v", answer.Channel)
	}
	if got := answer.Talks[0]; got.PublishTime.AsTime().Year() != 2019 || got.RecordedDate != "2019-05-03" || got.Duration.AsDuration() != time.Minute || !slices.Equal(got.Tags, []string{"go"}) {
		t.Errorf("talk is %v", got)
	}
	if n := s.said(t); n != 0 {
		t.Errorf("%d people were told", n)
	}
	s.countsAreRight(t)
}

// A time in the future must not hold the top of the lists.
func TestImportedTalkIsListedNoLaterThanItsImport(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := batch("event", "Event", 3)
	r.Talks[0].PublishTime = timestamppb.New(time.Now().AddDate(170, 0, 0))
	r.Talks[1].PublishTime = nil
	if _, err := s.talks.BatchImportTalks(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	s.publish(t, ada, s.channel(t, ada, "lakeside"), &talkspb.Talk{Title: "News"})
	for _, parent := range []string{"", "channels/event"} {
		for _, talk := range s.list(t, &talkspb.ListTalksRequest{Parent: parent}).Talks {
			if talk.PublishTime.AsTime().After(time.Now().Add(time.Minute)) {
				t.Errorf("in %q: %s was published at %v", parent, talk.Title, talk.PublishTime.AsTime())
			}
		}
	}
	if got, want := titles(s.list(t, &talkspb.ListTalksRequest{})), []string{"News", "Talk 1", "Talk 0", "Talk 2"}; !slices.Equal(got, want) {
		t.Errorf("listed are %q, want %q", got, want)
	}
}

// A batch that is handed over again, since nobody heard what came of it, is counted
// as it was.
func TestABatchAgainIsAnsweredAsItWas(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := batch("event", "", 5)
	r.BatchId = "operations/one/0-5"
	for range 3 {
		if answer, err := s.talks.BatchImportTalks(t.Context(), r); err != nil || answer.ChannelsCreated != 1 || answer.TalksCreated != 5 {
			t.Fatalf("%v, %v", answer, err)
		}
	}
	r.BatchId = "operations/two/0-5"
	if answer, err := s.talks.BatchImportTalks(t.Context(), r); err != nil || answer.ChannelsCreated != 0 || answer.TalksCreated != 0 {
		t.Fatalf("%v, %v", answer, err)
	}
	s.countsAreRight(t)
}

func TestImportsSideBySide(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			// Two at once may stand in each other's way; then one is told to
			// try again, as importers do.
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
	all.Wait()
	if got := s.list(t, &talkspb.ListTalksRequest{Parent: "channels/event"}).Channel.TalkCount; got != 100 {
		t.Errorf("%d talks", got)
	}
	s.countsAreRight(t)
}

// A catalogue neither fills nor renames a channel that somebody has.
func TestImportLeavesPeoplesChannelsAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.channel(t, ada, "lakeside")
	answer, err := s.talks.BatchImportTalks(t.Context(), batch("lakeside", "Taken over", 3))
	if err != nil || answer.ChannelsCreated != 0 || answer.TalksCreated != 0 {
		t.Fatalf("%v, %v", answer, err)
	}
	is := s.list(t, &talkspb.ListTalksRequest{Parent: "channels/lakeside"})
	if is.Channel.Title != "Channel lakeside" || len(is.Talks) != 0 {
		t.Errorf("it is %v", is)
	}
}

// Each thing wrong is named, and nothing of the batch is kept.
func TestImportRefusesTheWholeBatch(t *testing.T) {
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
	f := wants(t, err, "FIELDS_INVALID")
	var fields []string
	for _, v := range f.Violations {
		fields = append(fields, v.Field)
	}
	if want := []string{"channels[1].name", "channels[2].title", "talks[1].title", "talks[2].name", "talks[3].publish_time", "talks[4].recorded_date", "talks[5].duration"}; !slices.Equal(fields, want) {
		t.Errorf("named are %v, want %v", fields, want)
	}
	_, err = s.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: "channels/event"})
	wants(t, err, "CHANNEL_NOT_FOUND")
}

// A person's catalogue makes channels of theirs, as many as they may have.
func TestAPersonsCatalogueMakesTheirChannels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	mine := batch("mine", "Mine", 2)
	mine.OwnerId, mine.OwnerHandle = ada.ID, ada.Handle
	if answer, err := s.talks.BatchImportTalks(t.Context(), mine); err != nil || answer.ChannelsCreated != 1 || answer.TalksCreated != 2 {
		t.Fatalf("%v, %v", answer, err)
	}
	if answer, err := s.channels.GetChannel(as(t, ada), &talkspb.GetChannelRequest{Name: "channels/mine"}); err != nil || answer.Channel.Owner != "accounts/ada" || !answer.Channel.CanPublish {
		t.Errorf("%v, %v", answer, err)
	}
	// Neither somebody else's catalogue nor an operator's fills it.
	for _, other := range []caller.Person{grace, {}} {
		r := batch("mine", "Taken over", 5)
		r.OwnerId, r.OwnerHandle = other.ID, other.Handle
		if answer, err := s.talks.BatchImportTalks(t.Context(), r); err != nil || answer.ChannelsCreated != 0 || answer.TalksCreated != 0 {
			t.Errorf("%v: %v, %v", other, answer, err)
		}
	}
	many := &talkspb.BatchImportTalksRequest{OwnerId: ada.ID, OwnerHandle: ada.Handle}
	for i := range 25 {
		many.Channels = append(many.Channels, &talkspb.Channel{Name: fmt.Sprintf("channels/event-%02d", i)})
	}
	many.Channels = append(many.Channels, &talkspb.Channel{Name: "channels/mine"})
	_, err := s.talks.BatchImportTalks(t.Context(), many)
	f := wants(t, err, "TOO_MANY_CHANNELS")
	if len(f.Violations) != 6 || f.Violations[0].Field != "channels[19]" || f.Kind != apperror.Invalid {
		t.Errorf("refused are %v", f.Violations)
	}
	many.Channels = append(many.Channels[:19:19], many.Channels[25])
	if answer, err := s.talks.BatchImportTalks(t.Context(), many); err != nil || answer.ChannelsCreated != 19 {
		t.Errorf("%v, %v", answer, err)
	}
	answer, err := s.channels.ListChannelsOfAccount(t.Context(), &talkspb.ListChannelsOfAccountRequest{AccountId: ada.ID})
	if err != nil || len(answer.Channels) != 20 || answer.Channels[0].Name != "channels/mine" {
		t.Errorf("%v, %v", answer, err)
	}
	s.countsAreRight(t)
}

func TestWholeTalksComeByNameWithTheirDescriptions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	channel := s.channel(t, ada, "engines")
	for i := range 5 {
		s.publish(t, ada, channel, &talkspb.Talk{Title: fmt.Sprint("Talk ", i), Description: fmt.Sprint("About ", i)})
	}
	if _, err := s.talks.WithdrawTalk(as(t, ada), &talkspb.WithdrawTalkRequest{Name: channel + "/talks/talk-3"}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for token := ""; ; {
		answer, err := s.talks.ListWholeTalks(t.Context(), &talkspb.ListWholeTalksRequest{Parent: channel, PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, talk := range answer.Talks {
			got = append(got, talk.Name+": "+talk.Description)
		}
		if token = answer.NextPageToken; token == "" {
			break
		}
	}
	if want := []string{
		"channels/engines/talks/talk-0: About 0", "channels/engines/talks/talk-1: About 1",
		"channels/engines/talks/talk-2: About 2", "channels/engines/talks/talk-4: About 4",
	}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	_, err := s.talks.ListWholeTalks(t.Context(), &talkspb.ListWholeTalksRequest{Parent: "channels/nowhere"})
	wants(t, err, "CHANNEL_NOT_FOUND")
}
