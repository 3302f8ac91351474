package operations

import (
	"bytes"
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/work"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// request is long work that is asked for.
type request struct {
	account                             int64
	kind, title, subject, id, operation string
	input                               []byte
}

// create begins an operation, or finds the one that the same request began.
func (m *Module) create(ctx context.Context, r request) (made operation, err error) {
	r.operation = newID()
	err = m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		// One account's operations are begun and ended one after the other, so
		// that its bounds hold.
		if err := m.store.lockAccount(ctx, tx, r.account); err != nil {
			return err
		}
		before, input, found, err := m.store.requested(ctx, tx, r.account, r.id)
		if err != nil {
			return err
		}
		if found {
			if before.kind != r.kind || before.subject != r.subject || !bytes.Equal(input, r.input) {
				return errRequestID
			}
			made = before
			return nil
		}
		taken, waiting, err := m.store.turn(ctx, tx, r.account, r.kind)
		if err != nil {
			return err
		}
		if taken && waiting >= maxWaiting {
			return errMany
		}
		if made, err = m.store.add(ctx, tx, r, !taken); err != nil || !made.dispatched {
			return err
		}
		return m.say(ctx, tx, made)
	})
	return made, err
}

// say publishes that an operation is to be worked now.
func (m *Module) say(ctx context.Context, tx *postgres.Tx, o operation) error {
	_, err := m.needs.Publisher.Publish(ctx, tx, queue.Message{
		Exchange: work.Exchange, RoutingKey: work.Started + "." + o.kind, Type: work.Started,
		Body: &operationspb.OperationStarted{Operation: o.name()},
	})
	return err
}

// claimed is an operation that a worker has claimed, and what it goes on from.
type claimed struct {
	operation
	input, checkpoint []byte
	tries             int32
}

// claim makes the caller an operation's worker; attempt 0 when there is nothing
// to do any more.
func (m *Module) claim(ctx context.Context, id string) (c claimed, err error) {
	err = m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		var is bool
		if c, is, err = m.store.claim(ctx, tx, id); err != nil || !is {
			return err
		}
		text := "Begun."
		if c.attempt > 1 {
			text = "Taken up again where it was."
		}
		return m.changed(ctx, tx, &c.operation, text)
	})
	return c, err
}

// changed adds a step, unless text is empty, and announces the change.
func (m *Module) changed(ctx context.Context, tx *postgres.Tx, o *operation, text string) error {
	if text != "" {
		if err := m.store.addStep(ctx, tx, o.id, text); err != nil {
			return err
		}
	}
	return m.store.announce(ctx, tx, o.id)
}

// reported is how far a worker says that it is.
type reported struct {
	attempt     int64
	done, total int64
	unit, step  string
	checkpoint  []byte
	excused     bool // it stops, and the work is not to blame
}

// report keeps how far the work is, and returns the operation as it is then;
// superseded when the reporter has it no longer.
func (m *Module) report(ctx context.Context, id string, r reported) (o operation, superseded bool, err error) {
	err = m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		var kept bool
		if o, kept, err = m.store.report(ctx, tx, id, r); err != nil {
			return err
		}
		superseded = !kept
		if superseded {
			return nil
		}
		return m.changed(ctx, tx, &o, r.step)
	})
	return o, superseded, err
}

// outcome is how work ended.
type outcome struct {
	state             state
	response, failure []byte
	step              string
}

// finish ends an operation, unless it has ended or is another worker's: attempt 0
// stands for whoever has it. The account is told, and its next one begins.
// superseded when another worker has it, or had it when it ended.
func (m *Module) finish(ctx context.Context, id string, attempt int64, as outcome) (o operation, superseded bool, err error) {
	err = m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		account, err := m.store.account(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := m.store.lockAccount(ctx, tx, account); err != nil {
			return err
		}
		ended, changed, err := m.store.end(ctx, tx, id, attempt, as)
		if err != nil {
			return err
		}
		o = ended
		superseded = attempt != 0 && attempt != o.attempt
		if !changed {
			return nil
		}
		if err := m.changed(ctx, tx, &o, as.step); err != nil {
			return err
		}
		if err := m.dispatchNext(ctx, tx, account); err != nil {
			return err
		}
		return m.tell(ctx, tx, o)
	})
	return o, superseded, err
}

// dispatchNext publishes the operations whose turn it is.
func (m *Module) dispatchNext(ctx context.Context, tx *postgres.Tx, account int64) error {
	next, err := m.store.dispatch(ctx, tx, account)
	if err != nil {
		return err
	}
	for _, o := range next {
		if err := m.say(ctx, tx, o); err != nil {
			return err
		}
	}
	return nil
}

// tell publishes that an operation has ended. Who cancelled one knows; the
// operator has no inbox.
func (m *Module) tell(ctx context.Context, tx *postgres.Tx, o operation) error {
	if o.account == 0 || o.state == cancelled {
		return nil
	}
	_, err := m.needs.Publisher.Publish(ctx, tx, queue.Message{
		Exchange: work.Exchange, RoutingKey: work.Ended, Type: work.Ended,
		Body: &operationspb.OperationEnded{
			Operation: o.name(), AccountId: o.account, Title: o.title, Succeeded: o.state == succeeded,
			EndTime: timestamppb.New(o.ended),
		},
	})
	return err
}

// cancel has an operation stop. One that nobody works ends at once; a worker is
// asked, and ends it.
func (m *Module) cancel(ctx context.Context, id string) error {
	idle := false
	err := m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := m.store.account(ctx, tx, id); err != nil {
			return err
		}
		o, changed, err := m.store.requestCancel(ctx, tx, id)
		if err != nil || !changed {
			return err
		}
		idle = o.state == waiting
		return m.changed(ctx, tx, &o, "Cancel was asked for.")
	})
	if err != nil || !idle {
		return err
	}
	// Attempt 0 means whoever has it: a worker that claimed it just now finds out
	// that it has ended.
	_, _, err = m.finish(ctx, id, 0, outcome{state: cancelled, step: "Cancelled before it began."})
	return err
}
