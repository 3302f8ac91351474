// Package wake tells waiting goroutines, here and in other processes, that there
// is something new for them in the database: by NOTIFY, sent after the
// transaction that made it, on a connection of its own and at most every few
// milliseconds. Inside the transaction it would make all who publish commit one
// after the other.
//
// A wake may be lost, with the process that was to send it. Whoever waits looks
// all the same from time to time.
package notify

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"techtalks.example/logic-tier/platform/postgres"
)

// channel is the channel of NOTIFY; its payload is the places' numbers.
const channel = "queue_wake"

// debounce gathers the wakes of many publishers into one NOTIFY. Short beside a
// round trip to a busy database, long beside the gap between commits under load.
const debounce = 2 * time.Millisecond

// sendTimeout bounds a NOTIFY: a wake that is later than the next look is none.
const sendTimeout = 5 * time.Second

// Bell wakes who waits at a place: a queue's number, or Outbox.
type Bell struct {
	db     *postgres.DB
	listen postgres.Options
	log    *slog.Logger

	mu      sync.Mutex
	waiting map[int]chan struct{}
	pending map[int]bool // since the last NOTIFY
	some    chan struct{}
}

// Outbox is the place of who ships the outbox. Queues' numbers begin with 1.
const Outbox = 0

// New returns a bell that notifies on db, and listens as listen says.
func New(db *postgres.DB, listen postgres.Options, log *slog.Logger) *Bell {
	return &Bell{
		db: db, listen: listen, log: log,
		waiting: map[int]chan struct{}{}, pending: map[int]bool{}, some: make(chan struct{}, 1),
	}
}

// At returns the channel that is filled when there may be something at a place.
// Its capacity of one is enough: it says "look", not how much there is.
func (b *Bell) At(place int) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.waiting[place]
	if c == nil {
		c = make(chan struct{}, 1)
		b.waiting[place] = c
	}
	return c
}

// Leave forgets a place that nobody here waits at any more.
func (b *Bell) Leave(place int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.waiting, place)
}

// Ring wakes who waits at places, here and elsewhere, while Run runs.
func (b *Bell) Ring(places ...int64) {
	if len(places) == 0 {
		return
	}
	b.mu.Lock()
	for _, place := range places {
		b.pending[int(place)] = true
	}
	b.mu.Unlock()
	Fill(b.some)
}

// Here wakes who waits at places in this process.
func (b *Bell) Here(places ...int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, place := range places {
		b.fill(place)
	}
}

// fill does nothing where nobody waits: a nil channel takes nothing.
func (b *Bell) fill(place int) { Fill(b.waiting[place]) }

// everywhere wakes everybody in this process.
func (b *Bell) everywhere() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for place := range b.waiting {
		b.fill(place)
	}
}

// Run sends this process's wakes and receives the others' until ctx ends.
func (b *Bell) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return b.send(ctx) })
	g.Go(func() error { return b.receive(ctx) })
	return g.Wait()
}

func (b *Bell) take() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	places := make([]int, 0, len(b.pending))
	for place := range b.pending {
		places = append(places, place)
	}
	clear(b.pending)
	return places
}

func (b *Bell) send(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.some:
		}
		places := b.take()
		b.Here(places...)
		text := make([]string, len(places))
		for i, place := range places {
			text[i] = strconv.Itoa(place)
		}
		sending, done := context.WithTimeout(ctx, sendTimeout)
		if err := notify(sending, b.db, strings.Join(text, ",")); err != nil && ctx.Err() == nil {
			b.log.Warn("queue: nobody elsewhere was woken; they look within a second", "error", err)
		}
		done()
		if !Pause(ctx, debounce) {
			return nil
		}
	}
}

func (b *Bell) receive(ctx context.Context) error {
	return postgres.Listen(ctx, b.listen, channel, b.log, func(payload string, gap bool) {
		if gap {
			b.everywhere()
			return
		}
		for _, text := range strings.Split(payload, ",") {
			if place, err := strconv.Atoi(text); err == nil {
				b.Here(place)
			}
		}
	})
}

// Fill puts an entry into a channel of capacity one, unless it is full.
func Fill(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Pause waits so long; false when ctx ended first.
func Pause(ctx context.Context, length time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(length):
		return true
	}
}
