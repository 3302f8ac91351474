package notifications_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// Eight channels publish at once. One has 50,000 followers, and its fan-outs overlap many
// small ones. Some accounts follow all eight channels, connect to two replicas, and lose
// their connections all the time.
func TestFollowersReceiveEveryTalkOnceInOrder(t *testing.T) {
	t.Parallel()
	const (
		talks     = 12 // per channel
		followers = 16 // connected
	)
	big := int64(50_000)
	if testing.Short() {
		big = 10_000
	}
	channels := map[int64]accountRange{1: {1, big}}
	for channel := int64(2); channel <= 8; channel++ {
		channels[channel] = accountRange{1, 40 * channel}
	}
	s := newSite(t, channels)
	replicas := []*replica{s.start(), s.start()}
	total := talks * len(channels)

	var connected sync.WaitGroup
	watched := make([]*follower, followers)
	// On a busy machine the fan-outs of the large channel take most of the time.
	ctx, cancel := context.WithTimeout(t.Context(), 10*waitTimeout)
	defer cancel()
	for i := range watched {
		f := &follower{account: int64(i*4 + 1)}
		f.cursor = s.cursor(replicas[0], f.account)
		watched[i] = f
		connected.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for len(f.ids) < total {
				connCtx, disconnect := context.WithCancel(ctx)
				timer := time.AfterFunc(time.Duration(random.IntN(100))*time.Millisecond, disconnect)
				err := f.follow(connCtx, replicas[random.IntN(len(replicas))], total-len(f.ids))
				disconnected := connCtx.Err() != nil
				timer.Stop()
				disconnect()
				if ctx.Err() != nil {
					t.Errorf("account %d: got %d items in time, want %d", f.account, len(f.ids), total)
					return
				}
				if err != nil && !disconnected {
					t.Errorf("account %d: %v", f.account, err)
					return
				}
			}
		})
	}
	var publishing sync.WaitGroup
	for channel := range channels {
		publishing.Go(func() {
			for n := range talks {
				s.publish(replicas[int(channel)%2].engine, channel, fmt.Sprintf("%d-%d", channel, n))
			}
		})
	}
	publishing.Wait()
	connected.Wait()
	s.waitForFanOuts()

	for _, f := range watched {
		ids, titles := s.inbox(replicas[0], f.account)
		if !slices.Equal(ids, f.ids) || !slices.Equal(titles, f.titles) {
			t.Errorf("account %d: streamed %v, but the inbox has %v", f.account, f.titles, titles)
		}
		for channel := range channels {
			want, got := []string{}, []string{}
			for n := range talks {
				want = append(want, fmt.Sprintf("%d-%d", channel, n))
			}
			for _, title := range titles {
				if strings.HasPrefix(title, fmt.Sprintf("%d-", channel)) {
					got = append(got, title)
				}
			}
			if f.account <= channels[channel].last && !slices.Equal(got, want) {
				t.Errorf("account %d, channel %d: got talks %v, want %v", f.account, channel, got, want)
			}
		}
		distinct := slices.Compact(slices.Sorted(slices.Values(titles)))
		if len(distinct) != total || len(titles) != total {
			t.Errorf("account %d: got %d items, %d of them distinct; want %d", f.account, len(titles), len(distinct), total)
		}
	}
	// The accounts that never connected have each talk once, too.
	want := 0
	for _, c := range channels {
		want += talks * int(c.last)
	}
	if got := s.count(`select count(*) from notifications.inbox`); got != want {
		t.Errorf("got %d items in all inboxes, want %d", got, want)
	}
	if got := s.count(`select count(*) from (select distinct account, event from notifications.inbox) each`); got != want {
		t.Errorf("got %d distinct items in all inboxes, want %d", got, want)
	}
}

// A replica crashes during a fan-out, after its third page of followers.
func TestFanOutIsCompletedByAnotherReplicaAfterCrash(t *testing.T) {
	t.Parallel()
	const followers = 50_000
	s := newSite(t, map[int64]accountRange{1: {1, followers}})
	crashing := s.start()
	var crashed atomic.Bool
	failed := make(chan struct{})
	s.following.fail = func(after int64) error {
		if after >= 30_000 && crashed.CompareAndSwap(false, true) {
			close(failed)
		}
		if crashed.Load() {
			return errors.New("this process has crashed")
		}
		return nil
	}
	s.publish(crashing.engine, 1, "talk")
	<-failed
	crashing.stop()
	if got := s.count(`select count(*) from notifications.inbox`); got == 0 || got == followers {
		t.Fatalf("got %d of %d inboxes filled at the crash, want some but not all", got, followers)
	}
	s.following.mu.Lock()
	s.following.fail = nil
	s.following.mu.Unlock()
	s.start()
	s.waitForFanOuts()
	if got := s.count(`select count(*) from notifications.inbox`); got != followers {
		t.Errorf("got %d items, want one for each of %d followers", got, followers)
	}
	if got := s.count(`select count(distinct account) from notifications.inbox`); got != followers {
		t.Errorf("got %d accounts with an item, want %d", got, followers)
	}
}

func TestFanOutIsIdempotentWhenMessageIsPublishedTwice(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[int64]accountRange{1: {1, 10}})
	r := s.start()
	published := s.channels.add(1, "talk")
	s.publishMessage(r.engine, published)
	s.publishMessage(r.engine, published)
	s.waitForFanOuts()
	if got := s.count(`select count(*) from notifications.inbox`); got != 10 {
		t.Errorf("got %d items, want one for each of 10 followers", got)
	}
}

// Messages arrive in any order. Followers receive the talks in publishing order,
// including those whose message has not arrived yet.
func TestFollowersReceiveTalksInPublishingOrder(t *testing.T) {
	t.Parallel()
	const talks = 120
	s := newSite(t, map[int64]accountRange{1: {1, 10}})
	var published []*talkspb.TalkPublished
	var want []string
	for n := range talks {
		published = append(published, s.channels.add(1, fmt.Sprintf("talk-%d", n)))
		want = append(want, fmt.Sprintf("talk-%d", n))
	}
	replicas := []*replica{s.start(), s.start()}
	s.publishMessage(replicas[0].engine, published[70]) // before those of 70 earlier talks
	s.waitFor("the 70 earlier talks to be delivered first", func() bool {
		_, titles := s.inbox(replicas[0], 3)
		return slices.Equal(titles, want[:71])
	})
	rand.Shuffle(talks, func(i, j int) { published[i], published[j] = published[j], published[i] })
	for i, p := range published {
		s.publishMessage(replicas[i%2].engine, p)
	}
	s.waitForFanOuts()
	for account := int64(1); account <= 10; account++ {
		if _, titles := s.inbox(replicas[1], account); !slices.Equal(titles, want) {
			t.Errorf("account %d: got %v, want %v", account, titles, want)
		}
	}
}

// Versions that did not number publications publish messages without a number.
func TestTalkWithoutNumberIsDelivered(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[int64]accountRange{1: {1, 10}})
	r := s.start()
	published := s.channels.add(1, "talk")
	published.Number = 0
	s.publishMessage(r.engine, published)
	s.waitForFanOuts()
	if _, titles := s.inbox(r, 1); !slices.Equal(titles, []string{"talk"}) {
		t.Errorf("got %v, want [talk]", titles)
	}
}

func TestFanOutCompletesWithoutFollowers(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	r := s.start()
	s.publish(r.engine, 1, "talk")
	s.waitForFanOuts()
	if got := s.count(`select count(*) from notifications.event where complete`); got != 1 {
		t.Errorf("got %d complete fan-outs, want 1", got)
	}
}

func TestUndecodableMessageIsDeadLettered(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.start()
	if _, err := s.superuser.Exec(`select queue.publish('talks', 'talk.published', 'talk.published', '', '\xff')`); err != nil {
		t.Fatal(err)
	}
	s.waitFor("the dead letter", func() bool {
		return s.count(`select count(*) from queue.dead_letter where last_error like '%not a valid TalkPublished%'`) == 1
	})
}
