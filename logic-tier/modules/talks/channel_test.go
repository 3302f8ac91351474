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

func TestChannelIsOwnedByItsCreator(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	name := s.createChannel(t, ada, "lakeside")
	byOwner, err := s.channels.GetChannel(asPerson(t, ada), &talkspb.GetChannelRequest{Name: name})
	if err != nil || !byOwner.Channel.CanPublish || byOwner.Channel.Owner != "accounts/ada" {
		t.Errorf("as owner: got %v, %v", byOwner, err)
	}
	byOther, err := s.channels.GetChannel(asPerson(t, grace), &talkspb.GetChannelRequest{Name: name})
	if err != nil || byOther.Channel.CanPublish {
		t.Errorf("as another account: got %v, %v", byOther, err)
	}
	anonymous, err := s.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: "channels/LakeSide"})
	if err != nil || anonymous.Channel.CanPublish || anonymous.Channel.Name != name {
		t.Errorf("anonymously, in mixed case: got %v, %v", anonymous, err)
	}
}

func TestInvalidAndUnknownNamesAreRejected(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range []string{"lakeside", "channels/", "channels/a_b", "channels/a/b", "channels/ü", "talks/a", "channels/" + strings.Repeat("a", 141), "channels/\x00"} {
		_, err := s.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: name})
		wantFieldFailure(t, err, "name")
		_, err = s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{Parent: name})
		wantFieldFailure(t, err, "parent")
		_, err = s.talks.GetTalk(t.Context(), &talkspb.GetTalkRequest{Name: name + "/talks/a"})
		if name != "channels/a/b" {
			wantFieldFailure(t, err, "name")
		}
	}
	_, err := s.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: "channels/nowhere"})
	wantFailure(t, err, "CHANNEL_NOT_FOUND")
	_, err = s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{Parent: "channels/nowhere"})
	wantFailure(t, err, "CHANNEL_NOT_FOUND")
	_, err = s.talks.ListTalks(t.Context(), &talkspb.ListTalksRequest{Parent: "channels/nowhere", Query: "x"})
	wantFailure(t, err, "CHANNEL_NOT_FOUND")
	_, err = s.talks.GetTalk(t.Context(), &talkspb.GetTalkRequest{Name: "channels/nowhere/talks/none"})
	wantFailure(t, err, "TALK_NOT_FOUND")
}

func TestCreateChannelRequiresTitleAndUniqueSlug(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.createChannel(t, ada, "lakeside")
	_, err := s.channels.CreateChannel(asPerson(t, grace), &talkspb.CreateChannelRequest{ChannelId: "lakeside", Title: "Mine"})
	if f := wantFailure(t, err, "CHANNEL_EXISTS"); len(f.Violations) != 1 || f.Violations[0].Field != "channel_id" {
		t.Errorf("got violations %v, want one of channel_id", f.Violations)
	}
	_, err = s.channels.CreateChannel(asPerson(t, ada), &talkspb.CreateChannelRequest{ChannelId: "empty", Title: " \u2003"})
	wantFieldFailure(t, err, "title")
}

// The quota holds when channels are created concurrently.
func TestAccountOwnsAtMostTwentyChannels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for i := range 17 {
		s.createChannel(t, ada, fmt.Sprintf("channel-%d", i))
	}
	var creating sync.WaitGroup
	for i := range 8 {
		creating.Go(func() {
			_, err := s.channels.CreateChannel(asPerson(t, ada), &talkspb.CreateChannelRequest{ChannelId: fmt.Sprintf("late-%d", i), Title: "Late"})
			var f *apperror.Failure
			if err != nil && (!errors.As(err, &f) || f.Reason != "TOO_MANY_CHANNELS") {
				t.Error(err)
			}
		})
	}
	creating.Wait()
	list, err := s.channels.ListOwnChannels(asPerson(t, ada), &talkspb.ListOwnChannelsRequest{})
	if err != nil || len(list.Channels) != 20 {
		t.Fatalf("got %d channels, %v; want 20", len(list.GetChannels()), err)
	}
	if list.Channels[19].Name != "channels/channel-0" {
		t.Errorf("got %s as the last channel, want the oldest", list.Channels[19].Name)
	}
	s.createChannel(t, grace, "of-another-account")
}

// Pages list all channels by title, ignoring case, forward and backward. The longest
// title fits into a page token.
func TestListChannelsPagesByTitle(t *testing.T) {
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
				t.Fatalf("got a token of %d characters, want at most 1000", len(token))
			}
			response, err := s.channels.ListChannels(t.Context(), &talkspb.ListChannelsRequest{PageSize: 7, PageToken: token})
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range response.Channels {
				names = append(names, c.Name)
			}
			last = response
			if token = step(response); token == "" {
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
		t.Errorf("forward: got %d channels, %d of them distinct; want 30", len(forward), len(seen))
	}
	back, first := walk(last.PreviousPageToken, (*talkspb.ListChannelsResponse).GetPreviousPageToken)
	if len(back)+len(last.Channels) != 30 || first.Channels[0].Name != forward[0] {
		t.Errorf("backward: got %d channels, the first %s; want %d and %s", len(back), first.Channels[0].Name, 30-len(last.Channels), forward[0])
	}
}
