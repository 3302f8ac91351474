package server

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requests sends numbered requests to an admission, and records in which order they were
// admitted and rejected.
type requests struct {
	*admission
	mu       sync.Mutex // the race detector does not know the order that synctest's clock imposes
	admitted []int
	rejected []int
}

func newRequests() *requests {
	return &requests{admission: newAdmission(prometheus.NewRegistry())}
}

// send sends a request, and returns when it has been admitted or is waiting.
func (r *requests) send(ctx context.Context, id int, p priority) {
	go func() {
		ok := r.acquire(ctx, p)
		r.mu.Lock()
		defer r.mu.Unlock()
		if ok {
			r.admitted = append(r.admitted, id)
		} else {
			r.rejected = append(r.rejected, id)
		}
	}()
	synctest.Wait()
}

// finish finishes one of the admitted requests.
func (r *requests) finish() {
	r.release(0)
	synctest.Wait()
}

// outcome returns the admitted and the rejected requests.
func (r *requests) outcome() (admitted, rejected []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.admitted), slices.Clone(r.rejected)
}

// clearAdmitted forgets the admitted requests.
func (r *requests) clearAdmitted() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.admitted = nil
}

// fill sends requests until the next one would wait.
func (r *requests) fill() {
	for r.queueLength() == 0 {
		r.send(context.Background(), -1, anonymous)
	}
	r.finish() // admits the one that waits
	r.clearAdmitted()
}

func TestAdmission_QueuesRequestsUntilASlotIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRequests()
		r.fill()
		for id := range 10 {
			r.send(t.Context(), id, anonymous)
		}
		ctx, cancel := context.WithCancel(t.Context())
		r.send(ctx, 10, anonymous)
		r.send(t.Context(), 11, anonymous)
		cancel()
		synctest.Wait()
		if admitted, rejected := r.outcome(); len(admitted) != 0 || !slices.Equal(rejected, []int{10}) {
			t.Fatalf("got %v admitted and %v rejected without a free slot, want none and only the cancelled 10", admitted, rejected)
		}
		for range 11 {
			r.finish()
		}
		admitted, _ := r.outcome()
		if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11}; !slices.Equal(admitted, want) {
			t.Errorf("got %v admitted, want %v", admitted, want)
		}
		r.send(t.Context(), 12, anonymous)
		time.Sleep(queueWait/2 - time.Millisecond) // the fake clock: nothing waits for it
		synctest.Wait()
		if _, rejected := r.outcome(); len(rejected) != 1 {
			t.Errorf("got %v rejected before the minimum queue wait, want only 10", rejected)
		}
		time.Sleep(queueWait + time.Millisecond)
		synctest.Wait()
		if _, rejected := r.outcome(); !slices.Equal(rejected, []int{10, 12}) {
			t.Errorf("got %v rejected after the maximum queue wait, want 10 and 12", rejected)
		}
		if n := r.queueLength(); n != 0 {
			t.Errorf("got %d requests still queued after they were rejected, want 0", n)
		}
	})
}

func TestAdmission_AdmitsRequestsWithASessionFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRequests()
		r.fill()
		r.send(t.Context(), 1, anonymous)
		r.send(t.Context(), 2, signedIn)
		for r.queueLength() > 0 {
			r.finish()
		}
		if admitted, _ := r.outcome(); !slices.Equal(admitted, []int{2, 1}) {
			t.Errorf("got %v admitted, want 2 before 1", admitted)
		}
	})
}

func TestAdmission_ServesAShortBurstInOrderOfArrival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRequests()
		r.fill()
		var sent []int
		for id := range 100 {
			r.send(t.Context(), id, anonymous)
			sent = append(sent, id)
		}
		for r.queueLength() > 0 {
			r.finish()
		}
		if admitted, rejected := r.outcome(); !slices.Equal(admitted, sent) || len(rejected) > 0 {
			t.Errorf("got %v admitted and %v rejected, want all admitted in order", admitted, rejected)
		}
	})
}

// Under sustained overload an admitted request has not waited long, the others time out
// early, and the queue is bounded.
func TestAdmission_ServesTheNewestRequestFirstWhenTheQueueIsStanding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRequests()
		r.fill()
		const burst = maxQueueLength - 1
		for id := range burst {
			r.send(t.Context(), id, anonymous)
		}
		for range standingQueueAdmitted {
			r.finish()
		}
		time.Sleep(standingQueueAge)
		for n := range standingQueueAdmitted + 2 {
			r.send(t.Context(), burst+n, anonymous)
		}
		// The queue is full: its oldest request was evicted for the newest.
		if _, rejected := r.outcome(); !slices.Equal(rejected, []int{standingQueueAdmitted}) {
			t.Errorf("got %v rejected from a full queue, want only its oldest request, %d", rejected, standingQueueAdmitted)
		}
		r.clearAdmitted()
		r.finish()
		r.finish()
		if admitted, _ := r.outcome(); !slices.Equal(admitted, []int{burst + standingQueueAdmitted + 1, burst + standingQueueAdmitted}) {
			t.Errorf("got %v admitted, want the two newest", admitted)
		}
		time.Sleep(overloadQueueWait * 3 / 2)
		synctest.Wait()
		_, rejected := r.outcome()
		for n := range standingQueueAdmitted {
			if !slices.Contains(rejected, burst+n) {
				t.Errorf("request %d, sent to a standing queue, still waits after %s", burst+n, overloadQueueWait*3/2)
			}
		}
		for r.queueLength() > 0 {
			r.finish()
		}
		r.send(t.Context(), -1, anonymous)
		r.send(t.Context(), -2, anonymous)
		r.clearAdmitted()
		r.finish()
		if admitted, _ := r.outcome(); !slices.Equal(admitted, []int{-1}) {
			t.Errorf("got %v admitted after the queue was empty, want -1, the first to arrive", admitted)
		}
		for r.queueLength() > 0 {
			r.finish()
		}
	})
}

// When no request is served at all, because all wait for a peer that is being replaced, the
// queue is not standing: requests keep the full queue wait and their order.
func TestAdmission_KeepsTheFullQueueWaitWhenNoRequestFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRequests()
		r.fill()
		r.send(t.Context(), -1, anonymous)
		time.Sleep(standingQueueAge)
		var sent []int
		for id := range 20 {
			r.send(t.Context(), id, anonymous)
			sent = append(sent, id)
		}
		time.Sleep(queueWait/2 - time.Millisecond)
		synctest.Wait()
		for r.queueLength() > 0 {
			r.finish()
		}
		if admitted, _ := r.outcome(); !slices.Equal(admitted[max(0, len(admitted)-len(sent)):], sent) {
			t.Errorf("got %v admitted, want %v", admitted, sent)
		}
	})
}
