// Package ledger is what both engines of the queue keep in Postgres: the topology
// as it was declared, who consumes, dead letters, and marks of what was handled.
// Dead letters are for people, whatever carried the message: they are read,
// searched, put back one at a time. So they are rows, and not messages in one
// more queue.
package ledger

import (
	"context"
	"encoding/json"
	"fmt"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
)

// Declare makes the exchanges, queues and bindings that are not there yet, and
// removes bindings of the named queues that are no longer declared. An exchange
// of another type than declared is an error: messages published to it would go
// elsewhere than its users think.
func Declare(ctx context.Context, db *postgres.DB, topologies ...queue.Topology) error {
	return declareAll(ctx, db, false, topologies)
}

// Add is Declare but for bindings that are no longer declared, which stay: for an
// engine that first removes them elsewhere.
func Add(ctx context.Context, db *postgres.DB, topologies ...queue.Topology) error {
	return declareAll(ctx, db, true, topologies)
}

func declareAll(ctx context.Context, db *postgres.DB, keep bool, topologies []queue.Topology) error {
	return db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if err := lockTopology(ctx, tx); err != nil {
			return err
		}
		for _, t := range topologies {
			for _, e := range t.Exchanges {
				owner := t.OwnerOf(e.Name)
				found, ownedBy, err := declareExchange(ctx, tx, e, owner)
				if err != nil {
					return err
				}
				if owner != "" && ownedBy != owner {
					return queue.Permanent(fmt.Errorf("exchange %q belongs to the module %s and not to %s: publish to an exchange of the module's own", e.Name, ownedBy, owner))
				}
				if found != e.Type {
					return queue.Permanent(fmt.Errorf("exchange %q is %s in the database and %s in this program: run one version of it, or declare another name", e.Name, found, e.Type))
				}
			}
		}
		for _, t := range topologies {
			for _, declared := range t.Queues {
				if err := declare(ctx, tx, declared, t.Owner(), keep); err != nil {
					return fmt.Errorf("declare queue %q: %w", declared.Name, err)
				}
			}
		}
		return nil
	})
}

func declare(ctx context.Context, tx *postgres.Tx, declared queue.Queue, owner string, keep bool) error {
	if declared.Exclusive {
		// Made when it is consumed; what is wrong with it is said now.
		for _, b := range declared.Bindings {
			if _, err := expressed(ctx, tx, b); err != nil {
				return err
			}
		}
		return nil
	}
	id, err := declareQueue(ctx, tx, declared.WithDefaults(), owner)
	if err != nil {
		return err
	}
	return rebind(ctx, tx, id, declared.Bindings, keep)
}

// MakeExclusive makes a queue that is one consumer's alone until it expires, and
// returns its number.
func MakeExclusive(ctx context.Context, db *postgres.DB, name string, like queue.Queue) (id int, err error) {
	err = db.InTransaction(ctx, func(tx *postgres.Tx) error {
		if err := lockTopology(ctx, tx); err != nil {
			return err
		}
		like = like.WithDefaults()
		if id, err = declareExclusive(ctx, tx, name, like.DeliveryLimit, ExclusiveLife); err != nil {
			return err
		}
		return rebind(ctx, tx, id, like.Bindings, false)
	})
	return id, err
}

func rebind(ctx context.Context, tx *postgres.Tx, queueID int, bindings []queue.Binding, keep bool) error {
	if !keep {
		if err := unbind(ctx, tx, queueID); err != nil {
			return err
		}
	}
	for _, b := range bindings {
		e, err := expressed(ctx, tx, b)
		if err != nil {
			return err
		}
		if err := bind(ctx, tx, queueID, e); err != nil {
			return err
		}
	}
	return nil
}

// binding is a binding as rows have it.
type binding struct {
	queue.Binding
	pattern string // of headers: their text
	matches string // of a topic pattern: its expression
	headers []byte
}

// expressed checks a binding against its exchange's type.
func expressed(ctx context.Context, tx *postgres.Tx, b queue.Binding) (e binding, err error) {
	of, declared, err := exchangeType(ctx, tx, b.Exchange)
	if err != nil {
		return e, err
	}
	if !declared {
		return e, queue.Permanent(fmt.Errorf("bound to exchange %q, which is not declared: declare it", b.Exchange))
	}
	e = binding{Binding: b, pattern: b.Text()}
	switch {
	case of == queue.Topic:
		if e.matches, err = queue.TopicExpression(b.Pattern); err != nil {
			return e, queue.Permanent(err)
		}
	case of == queue.Headers:
		if b.Headers == nil {
			e.headers = []byte("{}")
		} else if e.headers, err = json.Marshal(b.Headers); err != nil {
			return e, err
		}
	}
	if of != queue.Headers && len(b.Headers) > 0 {
		return e, queue.Permanent(fmt.Errorf("binding to exchange %q asks for headers, which a %s exchange does not look at: bind to a headers exchange, or by a pattern", b.Exchange, of))
	}
	if len(e.pattern) > queue.MaxRoutingKey {
		return e, queue.Permanent(fmt.Errorf("binding %q of %d bytes: use at most %d", e.pattern, len(e.pattern), queue.MaxRoutingKey))
	}
	return e, nil
}
