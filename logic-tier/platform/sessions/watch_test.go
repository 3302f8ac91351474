package sessions

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

// accounts is the neighbour that knows which sessions ended.
type accounts struct {
	accountspb.AccountsClient

	mu    sync.Mutex
	ended []int64
	err   error
	asked [][]int64
}

func (a *accounts) CheckSessions(_ context.Context, r *accountspb.CheckSessionsRequest, _ ...grpc.CallOption) (*accountspb.CheckSessionsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, r.SessionIds)
	answer := &accountspb.CheckSessionsResponse{}
	for _, session := range r.SessionIds {
		if slices.Contains(a.ended, session) {
			answer.EndedSessionIds = append(answer.EndedSessionIds, session)
		}
	}
	return answer, a.err
}

func newWatch(a *accounts) *Watch { return New(a, slog.New(slog.DiscardHandler)) }

func check(t *testing.T, w *Watch) {
	t.Helper()
	if err := w.check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestWatchTellsEveryFollowerOfAnEndedSessionOnce(t *testing.T) {
	t.Parallel()
	a := &accounts{}
	w := newWatch(a)
	counts := map[string]int{}
	add := func(name string, session int64) func() { return w.Add(session, func() { counts[name]++ }) }
	add("first", 1)
	add("second", 1)
	removed := add("removed", 1)
	add("other session", 2)
	add("no session", 0)
	check(t, w)
	if len(counts) != 0 {
		t.Fatalf("told %v before a session ended", counts)
	}
	removed()
	a.ended = []int64{1}
	check(t, w)
	check(t, w)
	if counts["first"] != 1 || counts["second"] != 1 || len(counts) != 2 {
		t.Errorf("told %v, want first and second once each", counts)
	}
	if last := a.asked[len(a.asked)-1]; !slices.Equal(last, []int64{2}) {
		t.Errorf("still asks for %v", last)
	}
}

func TestWatchAsksNothingWhileNobodyFollows(t *testing.T) {
	t.Parallel()
	a := &accounts{}
	w := newWatch(a)
	w.Add(1, func() {})()
	check(t, w)
	if len(a.asked) != 0 {
		t.Errorf("asked %v", a.asked)
	}
}

func TestWatchChecksManySessionsInBatches(t *testing.T) {
	t.Parallel()
	a := &accounts{}
	w := newWatch(a)
	for session := range int64(2*checkAtOnce + 1) {
		w.Add(session+1, func() {})
	}
	check(t, w)
	if len(a.asked) != 3 || len(a.asked[0]) != checkAtOnce {
		t.Errorf("asked %d times", len(a.asked))
	}
}

func TestWatchChecksAgainAfterAnError(t *testing.T) {
	t.Parallel()
	a := &accounts{ended: []int64{1}, err: errors.New("away")}
	w := newWatch(a)
	w.every = time.Millisecond
	ended := make(chan bool, 1)
	w.Add(1, func() { ended <- true })
	ctx, stop := context.WithCancel(t.Context())
	running := make(chan error, 1)
	go func() { running <- w.Run(ctx) }()
	for asked := 0; asked < 2; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		asked = len(a.asked)
		a.mu.Unlock()
	}
	select {
	case <-ended:
		t.Error("a check that failed ended a session")
	default:
	}
	a.mu.Lock()
	a.err = nil
	a.mu.Unlock()
	<-ended
	stop()
	if err := <-running; err != nil {
		t.Error(err)
	}
}
