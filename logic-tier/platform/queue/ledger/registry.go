package ledger

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"techtalks.example/logic-tier/platform/queue"
)

// Registry counts what the consumers of this process do. An engine writes it down
// from time to time (Beat), so that whoever runs the system sees them all.
type Registry struct {
	// Host and Process say where; Process is unique as long as it runs.
	Host, Process string
	engine        string

	mu      sync.Mutex
	members map[*Member]bool
	numbers int
	written string // what the last beat said
	at      time.Time
}

// NewRegistry returns the registry of a process that uses an engine.
func NewRegistry(engine string) *Registry {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return &Registry{
		Host: host, Process: fmt.Sprintf("%s-%d-%04x", host, os.Getpid(), rand.N(1<<16)),
		engine: engine, members: map[*Member]bool{},
	}
}

// Member is one consumer.
type Member struct {
	queue    string
	process  string
	consumer queue.Consumer
	began    time.Time

	held, acknowledged, redelivered, dead atomic.Int64
}

// Join adds a consumer of a queue. It leaves with Leave.
func (r *Registry) Join(c queue.Consumer) *Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.numbers++
	process := r.Process
	for m := range r.members {
		if m.queue == c.Queue { // a second one in this process
			process = fmt.Sprintf("%s-%d", r.Process, r.numbers)
		}
	}
	m := &Member{queue: c.Queue, process: process, consumer: c, began: time.Now()}
	r.members[m] = true
	return m
}

// Leave removes a consumer; it is no longer seen a few seconds later.
func (r *Registry) Leave(m *Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, m)
}

// Holds says how many messages the consumer holds.
func (m *Member) Holds(n int) { m.held.Store(int64(n)) }

// Delivered counts a delivery, the count-th of its message.
func (m *Member) Delivered(count int) {
	if count > 1 {
		m.redelivered.Add(1)
	}
}

// Acknowledged counts messages that were worked.
func (m *Member) Acknowledged(n int) { m.acknowledged.Add(int64(n)) }

// Died counts messages that became dead letters.
func (m *Member) Died(n int) { m.dead.Add(int64(n)) }

// beatEvery is how often a registry is written down while nothing changes: often
// enough that a consumer that vanished is not shown for long.
const beatEvery = 5 * time.Second

// Beat returns the rows to write, when it is time to: something changed, or the
// last time was a while ago.
func (r *Registry) Beat() (b Beat, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	members := make([]*Member, 0, len(r.members))
	for m := range r.members {
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b *Member) int {
		return cmp.Or(cmp.Compare(a.queue, b.queue), cmp.Compare(a.process, b.process))
	})
	b = Beat{host: r.Host, engine: r.engine}
	for _, m := range members {
		b.process = append(b.process, m.process)
		b.queue = append(b.queue, m.queue)
		b.prefetch = append(b.prefetch, int64(m.consumer.Prefetch))
		b.concurrency = append(b.concurrency, int64(m.consumer.Concurrency))
		b.held = append(b.held, m.held.Load())
		b.acknowledged = append(b.acknowledged, m.acknowledged.Load())
		b.redelivered = append(b.redelivered, m.redelivered.Load())
		b.dead = append(b.dead, m.dead.Load())
		b.began = append(b.began, m.began.Format(time.RFC3339Nano))
	}
	text := fmt.Sprint(b)
	if len(members) == 0 || (text == r.written && time.Since(r.at) < beatEvery) {
		return b, false
	}
	r.written, r.at = text, time.Now()
	return b, true
}

// Missed says that the last beat was not written: the next one is due at once.
func (r *Registry) Missed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = time.Time{}
}

// Beat is a registry's rows, column by column.
type Beat struct {
	host, engine                          string
	process, queue                        []string
	prefetch, concurrency                 []int64
	held, acknowledged, redelivered, dead []int64
	began                                 []string
}
