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

// accounts is a fake accounts module.
type accounts struct {
	accountspb.AccountsClient

	mu       sync.Mutex
	ended    []int64
	err      error
	requests [][]int64
}

func (a *accounts) CheckSessions(_ context.Context, r *accountspb.CheckSessionsRequest, _ ...grpc.CallOption) (*accountspb.CheckSessionsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, r.SessionIds)
	response := &accountspb.CheckSessionsResponse{}
	for _, session := range r.SessionIds {
		if slices.Contains(a.ended, session) {
			response.EndedSessionIds = append(response.EndedSessionIds, session)
		}
	}
	return response, a.err
}

func newWatch(a *accounts) *Watch { return New(a, slog.New(slog.DiscardHandler)) }

func check(t *testing.T, w *Watch) {
	t.Helper()
	if err := w.check(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestWatchCallsEachCallbackOfAnEndedSessionOnce(t *testing.T) {
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
		t.Fatalf("called %v before a session ended", counts)
	}
	removed()
	a.ended = []int64{1}
	check(t, w)
	check(t, w)
	if counts["first"] != 1 || counts["second"] != 1 || len(counts) != 2 {
		t.Errorf("called %v, want first and second once each", counts)
	}
	if last := a.requests[len(a.requests)-1]; !slices.Equal(last, []int64{2}) {
		t.Errorf("last check: got sessions %v, want only 2", last)
	}
}

func TestWatchMakesNoCallWithoutSessions(t *testing.T) {
	t.Parallel()
	a := &accounts{}
	w := newWatch(a)
	w.Add(1, func() {})()
	check(t, w)
	if len(a.requests) != 0 {
		t.Errorf("got calls for %v, want none", a.requests)
	}
}

func TestWatchChecksManySessionsInBatches(t *testing.T) {
	t.Parallel()
	a := &accounts{}
	w := newWatch(a)
	for session := range int64(2*checkBatch + 1) {
		w.Add(session+1, func() {})
	}
	check(t, w)
	if len(a.requests) != 3 || len(a.requests[0]) != checkBatch {
		t.Errorf("got %d calls, the first with %d sessions; want 3 of at most %d", len(a.requests), len(a.requests[0]), checkBatch)
	}
}

func TestWatchRetriesAfterError(t *testing.T) {
	t.Parallel()
	a := &accounts{ended: []int64{1}, err: errors.New("unavailable")}
	w := newWatch(a)
	w.interval = time.Millisecond
	ended := make(chan bool, 1)
	w.Add(1, func() { ended <- true })
	ctx, stop := context.WithCancel(t.Context())
	running := make(chan error, 1)
	go func() { running <- w.Run(ctx) }()
	for n := 0; n < 2; time.Sleep(time.Millisecond) {
		a.mu.Lock()
		n = len(a.requests)
		a.mu.Unlock()
	}
	select {
	case <-ended:
		t.Error("a failed check ended a session")
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
