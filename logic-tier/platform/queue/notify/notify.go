// Package notify signals waiting goroutines, in this process and in others, that
// the database holds new work for them. It sends NOTIFY on a separate connection,
// after the publishing transaction has committed and at most once every few
// milliseconds. NOTIFY inside the transactions would serialise their commits.
//
// A notification is lost if its process crashes before sending it. Subscribers
// therefore also poll.
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

// channel is the NOTIFY channel. The payload is a comma-separated list of sources.
const channel = "queue_wake"

// debounce coalesces the notifications of many publishers into one NOTIFY: short
// compared with a round trip to a busy database, long compared with the interval
// between commits under load.
const debounce = 2 * time.Millisecond

// sendTimeout bounds a NOTIFY: by then, subscribers have polled.
const sendTimeout = 5 * time.Second

// Notifier notifies the subscribers of a source of new work. A source is the id of
// a queue, or Outbox.
type Notifier struct {
	db     *postgres.DB
	listen postgres.Options
	log    *slog.Logger

	mu          sync.Mutex
	subscribers map[int]chan struct{}
	pending     map[int]bool // sources to notify with the next NOTIFY
	hasPending  chan struct{}
}

// Outbox is the source of messages to ship. Queue ids begin with 1.
const Outbox = 0

// New returns a notifier that sends NOTIFY on db and listens on a connection with
// the options listen.
func New(db *postgres.DB, listen postgres.Options, log *slog.Logger) *Notifier {
	return &Notifier{
		db: db, listen: listen, log: log,
		subscribers: map[int]chan struct{}{}, pending: map[int]bool{}, hasPending: make(chan struct{}, 1),
	}
}

// Subscribe returns a channel that receives a value when the source may have new
// work. All subscribers of a source in this process share the channel. It buffers
// one value, which stands for any amount of work.
func (n *Notifier) Subscribe(source int) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	c := n.subscribers[source]
	if c == nil {
		c = make(chan struct{}, 1)
		n.subscribers[source] = c
	}
	return c
}

// Unsubscribe drops the channel of a source.
func (n *Notifier) Unsubscribe(source int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.subscribers, source)
}

// Notify notifies the subscribers of sources in all processes. It returns at once;
// Run sends the notifications.
func (n *Notifier) Notify(sources ...int64) {
	if len(sources) == 0 {
		return
	}
	n.mu.Lock()
	for _, source := range sources {
		n.pending[int(source)] = true
	}
	n.mu.Unlock()
	Signal(n.hasPending)
}

// NotifyLocal notifies the subscribers of sources in this process.
func (n *Notifier) NotifyLocal(sources ...int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, source := range sources {
		n.signal(source)
	}
}

// signal does nothing without a subscriber: a send on a nil channel blocks, and
// Signal does not wait.
func (n *Notifier) signal(source int) { Signal(n.subscribers[source]) }

// notifyAllLocal notifies all subscribers in this process.
func (n *Notifier) notifyAllLocal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for source := range n.subscribers {
		n.signal(source)
	}
}

// Run sends this process's notifications and receives those of other processes
// until ctx ends.
func (n *Notifier) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.send(ctx) })
	g.Go(func() error { return n.receive(ctx) })
	return g.Wait()
}

func (n *Notifier) takePending() []int {
	n.mu.Lock()
	defer n.mu.Unlock()
	sources := make([]int, 0, len(n.pending))
	for source := range n.pending {
		sources = append(sources, source)
	}
	clear(n.pending)
	return sources
}

func (n *Notifier) send(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.hasPending:
		}
		sources := n.takePending()
		n.NotifyLocal(sources...)
		text := make([]string, len(sources))
		for i, source := range sources {
			text[i] = strconv.Itoa(source)
		}
		sendCtx, cancel := context.WithTimeout(ctx, sendTimeout)
		if err := sendNotify(sendCtx, n.db, strings.Join(text, ",")); err != nil && ctx.Err() == nil {
			n.log.Warn("queue: cannot notify other processes; they poll within a second", "error", err)
		}
		cancel()
		if !Sleep(ctx, debounce) {
			return nil
		}
	}
}

func (n *Notifier) receive(ctx context.Context) error {
	return postgres.Listen(ctx, n.listen, channel, n.log, func(payload string, gap bool) {
		if gap {
			n.notifyAllLocal()
			return
		}
		for _, text := range strings.Split(payload, ",") {
			if source, err := strconv.Atoi(text); err == nil {
				n.NotifyLocal(source)
			}
		}
	})
}

// Signal sends on c without blocking. With a channel of capacity one, signals
// coalesce until they are received.
func Signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Sleep waits for d. It reports false if ctx ended first.
func Sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
