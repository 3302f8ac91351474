package operations

import (
	"context"
	"sync"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/postgres"
)

// maxSubscribers bounds the subscribers of one operation on one replica: waits and
// stream subscriptions together.
const maxSubscribers = 20_000

// readTimeout bounds reading a changed operation; notifications of other changes
// queue behind it.
const readTimeout = 2 * time.Second

var (
	errDraining           = apperror.New(apperror.Unavailable, "DRAINING", "the server is shutting down; retry to reach another replica").RetryIn(200 * time.Millisecond)
	errTooManySubscribers = apperror.New(apperror.Exhausted, "TOO_MANY_SUBSCRIPTIONS", "too many subscribers to this operation; poll it instead").RetryIn(10 * time.Second)
)

// snapshot is an operation as read from the database, once for all subscribers.
type snapshot struct {
	operation
	message *longrunningpb.Operation
}

// subscriber receives the changes of an operation. The hub calls its methods with
// its lock held, so they must not block.
type subscriber interface {
	onChange(s *snapshot)
	onGap() // changes may have been missed
}

// hub fans changes out to the operations' subscribers on this replica. An idle
// subscriber costs no queries.
type hub struct {
	draining chan struct{} // closed when the module stops

	mu          sync.Mutex
	subscribers map[string]map[subscriber]bool // by operation id
}

func newHub() *hub {
	return &hub{draining: make(chan struct{}), subscribers: map[string]map[subscriber]bool{}}
}

// subscribe delivers later changes to sub. To miss none, the caller reads the
// operation after subscribing.
func (h *hub) subscribe(id string, sub subscriber) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	set := h.subscribers[id]
	if len(set) >= maxSubscribers {
		return errTooManySubscribers
	}
	if set == nil {
		set = map[subscriber]bool{}
		h.subscribers[id] = set
	}
	set[sub] = true
	return nil
}

func (h *hub) unsubscribe(id string, sub subscriber) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subscribers[id], sub)
	if len(h.subscribers[id]) == 0 {
		delete(h.subscribers, id)
	}
}

func (h *hub) hasSubscribers(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.subscribers[id]) > 0
}

func (h *hub) broadcast(s *snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for sub := range h.subscribers[s.id] {
		sub.onChange(s)
	}
}

// broadcastGap notifies the subscribers of one operation, or of all if id is
// empty, that they may have missed changes.
func (h *hub) broadcastGap(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for operationID, set := range h.subscribers {
		if id != "" && operationID != id {
			continue
		}
		for sub := range set {
			sub.onGap()
		}
	}
}

// broadcastChanges listens for changes committed by any replica and broadcasts
// them until ctx ends.
func (m *Module) broadcastChanges(ctx context.Context) error {
	defer close(m.hub.draining)
	return postgres.Listen(ctx, m.deps.Listen, changedChannel, m.deps.Log, func(id string, lost bool) {
		if lost {
			// The listener may have reconnected to another database with another epoch.
			m.cachedEpoch.Store(nil)
			m.hub.broadcastGap("")
			return
		}
		if !m.hub.hasSubscribers(id) {
			return
		}
		readCtx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		s, err := m.read(readCtx, id)
		switch {
		case err == nil:
			m.hub.broadcast(s)
		case ctx.Err() == nil:
			m.deps.Log.Warn("operations: reading a changed operation failed; subscribers read it themselves", "operation", id, "error", err)
			m.hub.broadcastGap(id)
		}
	})
}

// read returns the current snapshot of an operation.
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
