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

// Eight publish at once. One of them has 50,000 followers, whose fan-out
// overlaps many small ones. Some follow all eight, on two replicas, and their
// connections break all the time.
func TestEveryFollowerGetsAllOfItInOneOrderOnce(t *testing.T) {
	t.Parallel()
	const (
		talks     = 12 // of each publisher
		followers = 16 // who are connected
	)
	big := int64(50_000)
	if testing.Short() {
		big = 10_000
	}
	channels := map[int64]crowd{1: {1, big}}
	for channel := int64(2); channel <= 8; channel++ {
		channels[channel] = crowd{1, 40 * channel}
	}
	s := newSite(t, channels)
	replicas := []*replica{s.start(), s.start()}
	all := talks * len(channels)

	var connected sync.WaitGroup
	watched := make([]*follower, followers)
	// Filling the inboxes of the large channel is what takes the time on a busy machine.
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	for i := range watched {
		f := &follower{account: int64(i*4 + 1)}
		f.cursor = s.cursor(replicas[0], f.account)
		watched[i] = f
		connected.Go(func() {
			chance := rand.New(rand.NewPCG(uint64(i), 1))
			for len(f.ids) < all {
				life, end := context.WithCancel(ctx)
				breaks := time.AfterFunc(time.Duration(chance.IntN(100))*time.Millisecond, end)
				err := f.follow(life, replicas[chance.IntN(len(replicas))], all-len(f.ids))
				broken := life.Err() != nil
				breaks.Stop()
				end()
				if ctx.Err() != nil {
					t.Errorf("account %d got %d of %d", f.account, len(f.ids), all)
					return
				}
				if err != nil && !broken {
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
	s.fannedOut()

	for _, f := range watched {
		ids, titles := s.inbox(replicas[0], f.account)
		if !slices.Equal(ids, f.ids) || !slices.Equal(titles, f.titles) {
			t.Errorf("account %d was pushed %v and reads %v", f.account, f.titles, titles)
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
				t.Errorf("account %d was told of channel %d's talks in the order %v", f.account, channel, got)
			}
		}
		distinct := slices.Compact(slices.Sorted(slices.Values(titles)))
		if len(distinct) != all || len(titles) != all {
			t.Errorf("account %d has %d items, %d of them distinct; want %d", f.account, len(titles), len(distinct), all)
		}
	}
	// Of the fifty thousand, too, each has each talk once.
	want := 0
	for _, c := range channels {
		want += talks * int(c.last)
	}
	if got := s.count(`select count(*) from notifications.inbox`); got != want {
		t.Errorf("%d items in all inboxes, want %d", got, want)
	}
	if got := s.count(`select count(*) from (select distinct account, event from notifications.inbox) each`); got != want {
		t.Errorf("%d distinct items in all inboxes, want %d", got, want)
	}
}

// A replica dies in the middle of a fan-out, after its third page of followers.
func TestAFanOutThatWasInterruptedIsCompletedByAnother(t *testing.T) {
	t.Parallel()
	const followers = 50_000
	s := newSite(t, map[int64]crowd{1: {1, followers}})
	dying := s.start()
	var died atomic.Bool
	gone := make(chan struct{})
	s.following.fail = func(after int64) error {
		if after >= 30_000 && died.CompareAndSwap(false, true) {
			close(gone)
		}
		if died.Load() {
			return errors.New("this process is dying")
		}
		return nil
	}
	s.publish(dying.engine, 1, "talk")
	<-gone
	dying.stop()
	if got := s.count(`select count(*) from notifications.inbox`); got == 0 || got == followers {
		t.Fatalf("%d of %d inboxes are filled; the interruption came too early or too late", got, followers)
	}
	s.following.mu.Lock()
	s.following.fail = nil
	s.following.mu.Unlock()
	s.start()
	s.fannedOut()
	if got := s.count(`select count(*) from notifications.inbox`); got != followers {
		t.Errorf("%d items, want one for each of %d", got, followers)
	}
	if got := s.count(`select count(distinct account) from notifications.inbox`); got != followers {
		t.Errorf("%d accounts have an item, want %d", got, followers)
	}
}

func TestAMessageDeliveredTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[int64]crowd{1: {1, 10}})
	r := s.start()
	published := s.channels.add(1, "talk")
	s.say(r.engine, published)
	s.say(r.engine, published)
	s.fannedOut()
	if got := s.count(`select count(*) from notifications.inbox`); got != 10 {
		t.Errorf("%d items, want one for each of 10", got)
	}
}

// Messages come in whatever order; followers are told in the order of publishing, of
// everything, also of what no message said yet.
func TestFollowersAreToldInTheOrderOfPublishing(t *testing.T) {
	t.Parallel()
	const talks = 120
	s := newSite(t, map[int64]crowd{1: {1, 10}})
	var published []*talkspb.TalkPublished
	var want []string
	for n := range talks {
		published = append(published, s.channels.add(1, fmt.Sprintf("talk-%d", n)))
		want = append(want, fmt.Sprintf("talk-%d", n))
	}
	replicas := []*replica{s.start(), s.start()}
	s.say(replicas[0].engine, published[70]) // before 70 others
	s.until("70 others are told of before it", func() bool {
		_, titles := s.inbox(replicas[0], 3)
		return slices.Equal(titles, want[:71])
	})
	rand.Shuffle(talks, func(i, j int) { published[i], published[j] = published[j], published[i] })
	for i, p := range published {
		s.say(replicas[i%2].engine, p)
	}
	s.fannedOut()
	for account := int64(1); account <= 10; account++ {
		if _, titles := s.inbox(replicas[1], account); !slices.Equal(titles, want) {
			t.Errorf("account %d was told %v", account, titles)
		}
	}
}

// A program of before numbers says nothing of them.
func TestATalkWithoutANumberIsToldOf(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[int64]crowd{1: {1, 10}})
	r := s.start()
	published := s.channels.add(1, "talk")
	published.Number = 0
	s.say(r.engine, published)
	s.fannedOut()
	if _, titles := s.inbox(r, 1); !slices.Equal(titles, []string{"talk"}) {
		t.Errorf("told of %v", titles)
	}
}

func TestATalkWithoutFollowersTellsNobody(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	r := s.start()
	s.publish(r.engine, 1, "talk")
	s.fannedOut()
	if got := s.count(`select count(*) from notifications.event where complete`); got != 1 {
		t.Errorf("%d fan-outs are complete, want the one", got)
	}
}

func TestWhatIsNoTalkGoesToTheDeadLetters(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	s.start()
	if _, err := s.inside.Exec(`select queue.publish('talks', 'talk.published', 'talk.published', '', '\xff')`); err != nil {
		t.Fatal(err)
	}
	s.until("the dead letter", func() bool {
		return s.count(`select count(*) from queue.dead_letter where last_error like '%no TalkPublished%'`) == 1
	})
}
