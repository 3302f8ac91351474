package operations

import (
	"context"
	"sync"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/postgres"
)

// maxPerOperation bounds who follows one operation on one replica, waits and
// subscriptions together.
const maxPerOperation = 20_000

// hearTimeout bounds the look-up of an operation while the changes of others wait
// behind it.
const hearTimeout = 2 * time.Second

var (
	errDraining      = apperror.New(apperror.Unavailable, "DRAINING", "the server stops; ask again, and another one answers").RetryIn(200 * time.Millisecond)
	errSubscriptions = apperror.New(apperror.Exhausted, "TOO_MANY_SUBSCRIPTIONS", "as many follow this operation as may; ask for it every now and then instead").RetryIn(10 * time.Second)
)

// snapshot is an operation after a change: read once, for all who follow it.
type snapshot struct {
	operation
	message *longrunningpb.Operation
}

// follower is told of changes. Both are called with the lock of live held, and
// must not block.
type follower interface {
	changed(s *snapshot)
	missed()
}

// live passes changes on to whoever follows an operation on this replica. A
// follower costs no query while nothing changes.
type live struct {
	draining chan struct{}

	mu        sync.Mutex
	followers map[string]map[follower]bool // by operation id
}

func newLive() *live {
	return &live{draining: make(chan struct{}), followers: map[string]map[follower]bool{}}
}

// follow has f told of what changes from now on: read the operation after it.
func (l *live) follow(id string, f follower) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.followers[id]
	if len(all) >= maxPerOperation {
		return errSubscriptions
	}
	if all == nil {
		all = map[follower]bool{}
		l.followers[id] = all
	}
	all[f] = true
	return nil
}

func (l *live) unfollow(id string, f follower) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.followers[id], f)
	if len(l.followers[id]) == 0 {
		delete(l.followers, id)
	}
}

func (l *live) followed(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.followers[id]) > 0
}

func (l *live) pass(s *snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f := range l.followers[s.id] {
		f.changed(s)
	}
}

// missed tells the followers of one operation, or of all when id is empty, that
// something may have been missed.
func (l *live) missed(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for of, all := range l.followers {
		if id != "" && of != id {
			continue
		}
		for f := range all {
			f.missed()
		}
	}
}

// deliverLive hears of changes, on whichever replica they were made, and passes
// them on until ctx ends.
func (m *Module) deliverLive(ctx context.Context) error {
	defer close(m.live.draining)
	return postgres.Listen(ctx, m.needs.Listen, changedChannel, m.needs.Log, func(id string, lost bool) {
		if lost {
			// It may be another database by now, which counts in another epoch.
			m.currentEpoch.Store(nil)
			m.live.missed("")
			return
		}
		if !m.live.followed(id) {
			return
		}
		hearing, done := context.WithTimeout(ctx, hearTimeout)
		defer done()
		s, err := m.read(hearing, id)
		switch {
		case err == nil:
			m.live.pass(s)
		case ctx.Err() == nil:
			m.needs.Log.Warn("operations: a change was not passed on; followers look for themselves", "operation", id, "error", err)
			m.live.missed(id)
		}
	})
}

// read returns an operation as it is.
func (m *Module) read(ctx context.Context, id string) (*snapshot, error) {
	o, err := m.store.operation(ctx, id)
	if err != nil {
		return nil, err
	}
	return m.snapshot(ctx, o)
}

func (m *Module) snapshot(ctx context.Context, o operation) (*snapshot, error) {
	epoch, err := m.epoch(ctx)
	if err != nil {
		return nil, err
	}
	message, err := o.message(epoch)
	return &snapshot{o, message}, err
}
