// Package ledger stores what both engines of the queue keep in Postgres: the
// declared topology, the running consumers, dead letters, and marks of handled
// messages. Operators read, search and redrive dead letters one at a time,
// whichever engine delivered them. Therefore dead letters are rows, not messages in
// another queue.
package ledger

import (
	"context"
	"encoding/json"
	"fmt"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
)

// Declare creates the exchanges, queues and bindings that do not exist yet, and
// deletes bindings of the declared queues that are no longer declared. It returns a
// Permanent error if an existing exchange has another type, because messages
// published to it would be routed by other rules than declared, or another owner.
func Declare(ctx context.Context, db *postgres.DB, topologies ...queue.Topology) error {
	return declareAll(ctx, db, false, topologies)
}

// DeclareKeepingBindings is Declare without the deletion of bindings: for an engine
// that deletes them from its broker first.
func DeclareKeepingBindings(ctx context.Context, db *postgres.DB, topologies ...queue.Topology) error {
	return declareAll(ctx, db, true, topologies)
}

func declareAll(ctx context.Context, db *postgres.DB, keepBindings bool, topologies []queue.Topology) error {
	return db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if err := lockTopology(ctx, tx); err != nil {
			return err
		}
		for _, t := range topologies {
			for _, e := range t.Exchanges {
				owner := t.OwnerOf(e.Name)
				storedType, storedOwner, err := declareExchange(ctx, tx, e, owner)
				if err != nil {
					return err
				}
				if owner != "" && storedOwner != owner {
					return queue.Permanent(fmt.Errorf("exchange %q belongs to module %s: %s cannot publish to it; declare another exchange", e.Name, storedOwner, owner))
				}
				if storedType != e.Type {
					return queue.Permanent(fmt.Errorf("exchange %q is %s in the database and %s in this program: run one version of it, or declare another name", e.Name, storedType, e.Type))
				}
			}
		}
		for _, t := range topologies {
			for _, q := range t.Queues {
				if err := declare(ctx, tx, q, t.Owner(), keepBindings); err != nil {
					return fmt.Errorf("declare queue %q: %w", q.Name, err)
				}
			}
		}
		return nil
	})
}

func declare(ctx context.Context, tx *postgres.Tx, q queue.Queue, owner string, keepBindings bool) error {
	if q.Exclusive {
		// Its consumers create it; report invalid bindings now.
		for _, b := range q.Bindings {
			if _, err := compile(ctx, tx, b); err != nil {
				return err
			}
		}
		return nil
	}
	id, err := declareQueue(ctx, tx, q.WithDefaults(), owner)
	if err != nil {
		return err
	}
	return rebind(ctx, tx, id, q.Bindings, keepBindings)
}

// CreateExclusive creates the queue of one consumer of the exclusive queue declared,
// and returns its id. The queue expires after ExclusiveTTL unless the engine renews
// it.
func CreateExclusive(ctx context.Context, db *postgres.DB, name string, declared queue.Queue) (id int, err error) {
	err = db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if err := lockTopology(ctx, tx); err != nil {
			return err
		}
		declared = declared.WithDefaults()
		if id, err = declareExclusive(ctx, tx, name, declared.DeliveryLimit, ExclusiveTTL); err != nil {
			return err
		}
		return rebind(ctx, tx, id, declared.Bindings, false)
	})
	return id, err
}

func rebind(ctx context.Context, tx *postgres.Tx, queueID int, bindings []queue.Binding, keepBindings bool) error {
	if !keepBindings {
		if err := unbind(ctx, tx, queueID); err != nil {
			return err
		}
	}
	for _, b := range bindings {
		stored, err := compile(ctx, tx, b)
		if err != nil {
			return err
		}
		if err := bind(ctx, tx, queueID, stored); err != nil {
			return err
		}
	}
	return nil
}

// storedBinding is a binding as it is stored.
type storedBinding struct {
	queue.Binding
	pattern string // Binding.Text
	matches string // the regular expression of a topic pattern
	headers []byte // a JSON object, for headers exchanges
}

// compile validates a binding against its exchange's type and returns it as it is
// stored.
func compile(ctx context.Context, tx *postgres.Tx, b queue.Binding) (s storedBinding, err error) {
	kind, declared, err := exchangeType(ctx, tx, b.Exchange)
	if err != nil {
		return s, err
	}
	if !declared {
		return s, queue.Permanent(fmt.Errorf("binding to exchange %q, which is not declared: declare it", b.Exchange))
	}
	s = storedBinding{Binding: b, pattern: b.Text()}
	switch kind {
	case queue.Topic:
		if s.matches, err = queue.TopicExpression(b.Pattern); err != nil {
			return s, queue.Permanent(err)
		}
	case queue.Headers:
		if b.Headers == nil {
			s.headers = []byte("{}")
		} else if s.headers, err = json.Marshal(b.Headers); err != nil {
			return s, err
		}
	}
	if kind != queue.Headers && len(b.Headers) > 0 {
		return s, queue.Permanent(fmt.Errorf("binding to exchange %q has headers, which a %s exchange ignores: bind to a headers exchange, or by a pattern", b.Exchange, kind))
	}
	if len(s.pattern) > queue.MaxRoutingKey {
		return s, queue.Permanent(fmt.Errorf("binding %q of %d bytes: use at most %d", s.pattern, len(s.pattern), queue.MaxRoutingKey))
	}
	return s, nil
}
