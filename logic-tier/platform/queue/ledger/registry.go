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

// Registry counts what the consumers of this process do. An engine writes its
// heartbeats to the database, so that operators see the consumers of all
// processes.
type Registry struct {
	// Host is the host's name. Process identifies this process while it runs.
	Host, Process string
	engine        string

	mu        sync.Mutex
	members   map[*Member]bool
	joined    int       // members so far
	written   string    // the last heartbeat
	writtenAt time.Time // zero: the last heartbeat was not written
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

// Member is a consumer of this process.
type Member struct {
	queue    string
	process  string
	consumer queue.Consumer
	began    time.Time

	held, acknowledged, redelivered, dead atomic.Int64
}

// Join adds a consumer of a queue to the registry, until Leave.
func (r *Registry) Join(c queue.Consumer) *Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined++
	process := r.Process
	for m := range r.members {
		if m.queue == c.Queue { // rows are keyed by process and queue
			process = fmt.Sprintf("%s-%d", r.Process, r.joined)
		}
	}
	m := &Member{queue: c.Queue, process: process, consumer: c, began: time.Now()}
	r.members[m] = true
	return m
}

// Leave removes a consumer. Operators stop seeing it a few seconds later.
func (r *Registry) Leave(m *Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.members, m)
}

// SetHeld sets the number of messages that the consumer holds.
func (m *Member) SetHeld(n int) { m.held.Store(int64(n)) }

// CountDelivery counts the count-th delivery of a message.
func (m *Member) CountDelivery(count int) {
	if count > 1 {
		m.redelivered.Add(1)
	}
}

// CountAcknowledged counts n acknowledged messages.
func (m *Member) CountAcknowledged(n int) { m.acknowledged.Add(int64(n)) }

// CountDead counts n dead-lettered messages.
func (m *Member) CountDead(n int) { m.dead.Add(int64(n)) }

// heartbeatInterval is the time between heartbeats while no count changes. It
// limits how long a crashed consumer is still shown.
const heartbeatInterval = 5 * time.Second

// Heartbeat returns the rows to write, and reports whether to write them: when a
// count changed, or heartbeatInterval after the last heartbeat.
func (r *Registry) Heartbeat() (h Heartbeat, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	members := make([]*Member, 0, len(r.members))
	for m := range r.members {
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b *Member) int {
		return cmp.Or(cmp.Compare(a.queue, b.queue), cmp.Compare(a.process, b.process))
	})
	h = Heartbeat{host: r.Host, engine: r.engine}
	for _, m := range members {
		h.process = append(h.process, m.process)
		h.queue = append(h.queue, m.queue)
		h.prefetch = append(h.prefetch, int64(m.consumer.Prefetch))
		h.concurrency = append(h.concurrency, int64(m.consumer.Concurrency))
		h.held = append(h.held, m.held.Load())
		h.acknowledged = append(h.acknowledged, m.acknowledged.Load())
		h.redelivered = append(h.redelivered, m.redelivered.Load())
		h.dead = append(h.dead, m.dead.Load())
		h.began = append(h.began, m.began.Format(time.RFC3339Nano))
	}
	text := fmt.Sprint(h)
	if len(members) == 0 || (text == r.written && time.Since(r.writtenAt) < heartbeatInterval) {
		return h, false
	}
	r.written, r.writtenAt = text, time.Now()
	return h, true
}

// HeartbeatFailed records that the last heartbeat was not written: the next one is
// due at once.
func (r *Registry) HeartbeatFailed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.writtenAt = time.Time{}
}

// Heartbeat is the rows of a registry's consumers, column by column.
type Heartbeat struct {
	host, engine                          string
	process, queue                        []string
	prefetch, concurrency                 []int64
	held, acknowledged, redelivered, dead []int64
	began                                 []string
}
