package postgresqueue

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"techtalks.example/logic-tier/postgres"
)

// wakeChannel is the channel of NOTIFY; its payload names queues by number.
const wakeChannel = "queue_wake"

// debounce gathers the wakes of many publishers into one NOTIFY. Short beside a
// round trip to a busy database, long beside the gap between commits under load.
const debounce = 2 * time.Millisecond

// wakes gathers which queues got messages since the last NOTIFY.
type wakes struct {
	mu      sync.Mutex
	pending map[int]bool
	some    chan struct{}
}

func newWakes() *wakes {
	return &wakes{pending: map[int]bool{}, some: make(chan struct{}, 1)}
}

func (w *wakes) add(queueIDs []int64) {
	if len(queueIDs) == 0 {
		return
	}
	w.mu.Lock()
	for _, id := range queueIDs {
		w.pending[int(id)] = true
	}
	w.mu.Unlock()
	select {
	case w.some <- struct{}{}:
	default:
	}
}

func (w *wakes) take() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	ids := make([]int, 0, len(w.pending))
	for id := range w.pending {
		ids = append(ids, id)
	}
	clear(w.pending)
	return ids
}

// sendWakes wakes consumers of this process at once and tells the others.
func (q *Queue) sendWakes(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.wakes.some:
		}
		ids := q.wakes.take()
		q.wakeConsumers(ids...)
		text := make([]string, len(ids))
		for i, id := range ids {
			text[i] = strconv.Itoa(id)
		}
		// A wake that is not sent is made up for by the consumers' own looking.
		sending, done := context.WithTimeout(ctx, statementTimeout)
		if err := notify(sending, q.db, strings.Join(text, ",")); err != nil && ctx.Err() == nil {
			q.log.Warn("queue: consumers elsewhere were not woken; they look within a second", "error", err)
		}
		done()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(debounce):
		}
	}
}

// receiveWakes passes the wakes of other processes on.
func (q *Queue) receiveWakes(ctx context.Context) error {
	return postgres.Listen(ctx, q.listen, wakeChannel, q.log, func(payload string, gap bool) {
		if gap {
			q.wakeAll()
			return
		}
		for _, text := range strings.Split(payload, ",") {
			if id, err := strconv.Atoi(text); err == nil {
				q.wakeConsumers(id)
			}
		}
	})
}
