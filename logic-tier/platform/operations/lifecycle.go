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

// request describes an operation to create.
type request struct {
	account                int64
	requestID, operationID string
	kind, title, subject   string
	input                  []byte
}

// create creates an operation. It is idempotent by request ID: a repeated request
// returns the operation that the first one created.
func (m *Module) create(ctx context.Context, r request) (o operation, err error) {
	r.operationID = newID()
	err = m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		// Creating and finishing operations is serialized per account, so that
		// concurrent requests cannot exceed the account's limits.
		if err := m.store.lockAccount(ctx, tx, r.account); err != nil {
			return err
		}
		existing, input, found, err := m.store.operationByRequest(ctx, tx, r.account, r.requestID)
		if err != nil {
			return err
		}
		if found {
			if existing.kind != r.kind || existing.subject != r.subject || !bytes.Equal(input, r.input) {
				return errRequestIDTaken
			}
			o = existing
			return nil
		}
		dispatched, waiting, err := m.store.countPending(ctx, tx, r.account, r.kind)
		if err != nil {
			return err
		}
		if dispatched && waiting >= maxWaiting {
			return errTooManyWaiting
		}
		if o, err = m.store.insert(ctx, tx, r, !dispatched); err != nil || !o.dispatched {
			return err
		}
		return m.publishStarted(ctx, tx, o)
	})
	return o, err
}

// publishStarted hands a dispatched operation to the workers of its kind.
func (m *Module) publishStarted(ctx context.Context, tx *postgres.Tx, o operation) error {
	_, err := m.deps.Publisher.Publish(ctx, tx, queue.Message{
		Exchange: work.Exchange, RoutingKey: work.Started + "." + o.kind, Type: work.Started,
		Body: &operationspb.OperationStarted{Operation: o.name()},
	})
	return err
}

// claimedOperation is an operation with the state its worker resumes from.
type claimedOperation struct {
	operation
	input, checkpoint []byte
	tries             int32
}

// claim makes the caller the operation's worker and supersedes the previous one.
// The attempt is 0 if the operation has already finished.
func (m *Module) claim(ctx context.Context, id string) (c claimedOperation, err error) {
	err = m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		var ok bool
		if c, ok, err = m.store.claim(ctx, tx, id); err != nil || !ok {
			return err
		}
		text := "Started."
		if c.attempt > 1 {
			text = "Resumed after an interruption."
		}
		return m.recordChange(ctx, tx, &c.operation, text)
	})
	return c, err
}

// recordChange adds a step, unless text is empty, and notifies all replicas.
func (m *Module) recordChange(ctx context.Context, tx *postgres.Tx, o *operation, text string) error {
	if text != "" {
		if err := m.store.addStep(ctx, tx, o.id, text); err != nil {
			return err
		}
	}
	return m.store.notify(ctx, tx, o.id)
}

// progress is a worker's progress report.
type progress struct {
	attempt     int64
	done, total int64
	unit, step  string
	checkpoint  []byte
	excused     bool // the worker stops, and the attempt does not count as a try
}

// report stores a worker's progress and returns the updated operation. It reports
// superseded if the attempt is no longer the current one.
func (m *Module) report(ctx context.Context, id string, p progress) (o operation, superseded bool, err error) {
	err = m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		var ok bool
		if o, ok, err = m.store.report(ctx, tx, id, p); err != nil {
			return err
		}
		superseded = !ok
		if superseded {
			return nil
		}
		return m.recordChange(ctx, tx, &o, p.step)
	})
	return o, superseded, err
}

// outcome is the result of an operation.
type outcome struct {
	state             state
	response, failure []byte
	step              string
}

// finish finishes an operation, notifies its account and dispatches the account's
// next operation. It changes nothing if the operation has already finished or
// belongs to another attempt; attempt 0 matches any. It reports superseded if
// another worker holds the operation or finished it.
func (m *Module) finish(ctx context.Context, id string, attempt int64, result outcome) (o operation, superseded bool, err error) {
	err = m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		account, err := m.store.account(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := m.store.lockAccount(ctx, tx, account); err != nil {
			return err
		}
		current, changed, err := m.store.finish(ctx, tx, id, attempt, result)
		if err != nil {
			return err
		}
		o = current
		superseded = attempt != 0 && attempt != o.attempt
		if !changed {
			return nil
		}
		if err := m.recordChange(ctx, tx, &o, result.step); err != nil {
			return err
		}
		if err := m.dispatchNext(ctx, tx, account); err != nil {
			return err
		}
		return m.publishEnded(ctx, tx, o)
	})
	return o, superseded, err
}

// dispatchNext dispatches and publishes the account's next operation of each idle kind.
func (m *Module) dispatchNext(ctx context.Context, tx *postgres.Tx, account int64) error {
	next, err := m.store.dispatch(ctx, tx, account)
	if err != nil {
		return err
	}
	for _, o := range next {
		if err := m.publishStarted(ctx, tx, o); err != nil {
			return err
		}
	}
	return nil
}

// publishEnded notifies the account that its operation has finished. Cancelled
// operations are not announced, because the user cancelled them, nor are the
// operator's, who has no inbox.
func (m *Module) publishEnded(ctx context.Context, tx *postgres.Tx, o operation) error {
	if o.account == 0 || o.state == stateCancelled {
		return nil
	}
	_, err := m.deps.Publisher.Publish(ctx, tx, queue.Message{
		Exchange: work.Exchange, RoutingKey: work.Ended, Type: work.Ended,
		Body: &operationspb.OperationEnded{
			Operation: o.name(), AccountId: o.account, Title: o.title, Succeeded: o.state == stateSucceeded,
			EndTime: timestamppb.New(o.ended),
		},
	})
	return err
}

// cancel requests cancellation. An operation without a worker is finished at once;
// otherwise its worker sees the request and finishes it.
func (m *Module) cancel(ctx context.Context, id string) error {
	unclaimed := false
	err := m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		if _, err := m.store.account(ctx, tx, id); err != nil {
			return err
		}
		o, changed, err := m.store.requestCancel(ctx, tx, id)
		if err != nil || !changed {
			return err
		}
		unclaimed = o.state == stateWaiting
		return m.recordChange(ctx, tx, &o, "Cancellation requested.")
	})
	if err != nil || !unclaimed {
		return err
	}
	// Attempt 0 matches any attempt: a worker that has claimed the operation in the
	// meantime learns that it is superseded.
	_, _, err = m.finish(ctx, id, 0, outcome{state: stateCancelled, step: "Cancelled before it started."})
	return err
}
