package talks_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"techtalks.example/logic-tier/platform/apperror"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

func TestChannelBelongsToWhoMadeIt(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	name := s.channel(t, ada, "lakeside")
	mine, err := s.channels.GetChannel(as(t, ada), &talkspb.GetChannelRequest{Name: name})
	if err != nil || !mine.Channel.CanPublish || mine.Channel.Owner != "accounts/ada" {
		t.Errorf("for its owner: %v, %v", mine, err)
	}
	theirs, err := s.channels.GetChannel(as(t, grace), &talkspb.GetChannelRequest{Name: name})
	if err != nil || theirs.Channel.CanPublish {
		t.Errorf("for somebody else: %v, %v", theirs, err)
	}
	nobodys, err := s.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: "channels/LakeSide"})
	if err != nil || nobodys.Channel.CanPublish || nobodys.Channel.Name != name {
		t.Errorf("for nobody, in other case: %v, %v", nobodys, err)
	}
}

func TestNamesThatAreNone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range []string{"lakeside", "channels/", "channels/a_b", "channels/a/b", "channels/ü", "talks/a", "channels/" + strings.Repeat("a", 141), "channels/\x00"} {
		_, err := s.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: name})
		wantsField(t, err, "name")
		_, err = s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{Parent: name})
		wantsField(t, err, "parent")
		_, err = s.talks.GetTalk(t.Context(), &talkspb.GetTalkRequest{Name: name + "/talks/a"})
		if name != "channels/a/b" {
			wantsField(t, err, "name")
		}
	}
	_, err := s.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: "channels/nowhere"})
	wants(t, err, "CHANNEL_NOT_FOUND")
	_, err = s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{Parent: "channels/nowhere"})
	wants(t, err, "CHANNEL_NOT_FOUND")
	_, err = s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{Parent: "channels/nowhere", Query: "x"})
	wants(t, err, "CHANNEL_NOT_FOUND")
	_, err = s.talks.GetTalk(t.Context(), &talkspb.GetTalkRequest{Name: "channels/nowhere/talks/none"})
	wants(t, err, "TALK_NOT_FOUND")
}

func TestChannelNeedsATitleAndANameOfItsOwn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.channel(t, ada, "lakeside")
	_, err := s.channels.CreateChannel(as(t, grace), &talkspb.CreateChannelRequest{ChannelId: "lakeside", Title: "Mine"})
	if f := wants(t, err, "CHANNEL_EXISTS"); len(f.Violations) != 1 || f.Violations[0].Field != "channel_id" {
		t.Errorf("it is said of %v", f.Violations)
	}
	_, err = s.channels.CreateChannel(as(t, ada), &talkspb.CreateChannelRequest{ChannelId: "empty", Title: " \u2003"})
	wantsField(t, err, "title")
}

// The bound holds when channels are made side by side.
func TestAccountHasAtMostTwentyChannels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 17 {
		s.channel(t, ada, fmt.Sprintf("channel-%d", i))
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, err := s.channels.CreateChannel(as(t, ada), &talkspb.CreateChannelRequest{ChannelId: fmt.Sprintf("late-%d", i), Title: "Late"})
			var f *apperror.Failure
			if err != nil && (!errors.As(err, &f) || f.Reason != "TOO_MANY_CHANNELS") {
				t.Error(err)
			}
		})
	}
	all.Wait()
	own, err := s.channels.ListOwnChannels(as(t, ada), &talkspb.ListOwnChannelsRequest{})
	if err != nil || len(own.Channels) != 20 {
		t.Fatalf("%d channels, %v", len(own.GetChannels()), err)
	}
	if own.Channels[19].Name != "channels/channel-0" {
		t.Errorf("the oldest is not last but %s", own.Channels[19].Name)
	}
	s.channel(t, grace, "somebody-elses")
}

// Pages go through all channels by title, whatever their case, forward and
// back; a title of the longest kind fits a token.
func TestChannelsByTitle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := &talkspb.BatchImportTalksRequest{}
	for i := range 30 {
		title := []string{"alpha", "Beta", strings.Repeat("<𝕊", 100), "gamma"}[i%4]
		r.Channels = append(r.Channels, &talkspb.Channel{Name: fmt.Sprintf("channels/event-%d", i), Title: title})
	}
	if _, err := s.talks.BatchImportTalks(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	walk := func(token string, step func(*talkspb.ListChannelsResponse) string) (names []string, last *talkspb.ListChannelsResponse) {
		for {
			if len(token) > 1000 {
				t.Fatalf("a token of %d characters: the contract takes 1,000", len(token))
			}
			answer, err := s.channels.ListChannels(t.Context(), &talkspb.ListChannelsRequest{PageSize: 7, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range answer.Channels {
				names = append(names, c.Name)
			}
			last = answer
			if token = step(answer); token == "" {
				return names, last
			}
		}
	}
	forward, last := walk("", (*talkspb.ListChannelsResponse).GetNextPageToken)
	seen := map[string]bool{}
	for _, name := range forward {
		seen[name] = true
	}
	if len(forward) != 30 || len(seen) != 30 {
		t.Errorf("forward: %d channels, %d different", len(forward), len(seen))
	}
	back, first := walk(last.PreviousPageToken, (*talkspb.ListChannelsResponse).GetPreviousPageToken)
	if len(back)+len(last.Channels) != 30 || first.Channels[0].Name != forward[0] {
		t.Errorf("back: %d channels, to %s", len(back), first.Channels[0].Name)
	}
}
