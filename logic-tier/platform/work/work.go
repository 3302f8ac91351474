// Package work is how a module does long work behind a handle: it consumes the
// messages that say an operation of its kind is to be worked now, and looks
// after all that is the same for every kind. A module gives it a function.
//
// The function may be stopped at any moment, with its process or by its context,
// and is then called again, perhaps elsewhere, with the last checkpoint that it
// saved. What it did before must not be done twice by that.
package work

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"techtalks.example/logic-tier/platform/queue"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

const (
	// lease is how soon a worker that vanished is noticed.
	lease = 10 * time.Second
	// tries is how often work is begun that fails for a reason that may pass, or
	// that its worker dies of; then it has failed. Work that was interrupted and is
	// not to blame has not been tried: its message is delivered again as long as
	// its queue delivers one.
	tries = 8
	// callTimeout bounds a call that takes up work, or tells of it.
	callTimeout = 5 * time.Second
	// settleTimeout bounds the call that says how work ended: it must not be lost
	// for a busy moment, and a drain waits for it.
	settleTimeout = 10 * time.Second
	// cleanupTimeout bounds all that a worker cleans up after work that ended in vain.
	cleanupTimeout = 10 * time.Second
)

var errDeadly = errors.New("its workers died of it")

// ErrHandedOver is returned by work that another module finishes: one that hears
// of it by a message.
var ErrHandedOver = errors.New("somebody else finishes the operation")

// Worker works the operations of one kind.
type Worker struct {
	// Kind is the operations' kind.
	Kind string
	// Queue is the name of the queue they wait in.
	Queue string
	// Concurrency bounds how many are worked at once in this process.
	Concurrency int
	// Operations is told how far they are.
	Operations operationspb.OperationWorkClient
	// Do works one. Its context ends when the operation is cancelled, when it is
	// another worker's, or when the process drains; it then cleans up what only
	// it knows of and returns. A refusal (a failure, or a neighbour's status that
	// trying again does not mend) ends the operation with its words. What other
	// workers of the operation may know of is removed by Operation.Cleanup.
	Do  func(ctx context.Context, o *Operation) (proto.Message, error)
	Log *slog.Logger
}

// Topology is what the worker consumes; its module's name is the queue's first
// word.
func (w Worker) Topology() queue.Topology {
	module, _, _ := strings.Cut(w.Queue, ".")
	return queue.Topology{
		Module:    module,
		Exchanges: []queue.Exchange{{Name: Exchange, Type: queue.Topic}},
		Queues:    []queue.Queue{{Name: w.Queue, Bindings: []queue.Binding{{Exchange: Exchange, Pattern: Started + "." + w.Kind}}}},
	}
}

// Exchange is where the operations module says what happens to operations;
// Started begins the routing keys of those that are to be worked, Ended is that of
// those that have ended.
const (
	Exchange = "operations"
	Started  = "operation.started"
	Ended    = "operation.ended"
)

// Consumer is who works the queue.
func (w Worker) Consumer() queue.Consumer {
	return queue.Consumer{Queue: w.Queue, Concurrency: w.Concurrency, Prefetch: w.Concurrency, Lease: lease, Handle: queue.Idempotent(w.handle)}
}

func (w Worker) handle(ctx context.Context, d queue.Delivery, started *operationspb.OperationStarted) error {
	claiming, claimed := context.WithTimeout(ctx, callTimeout)
	claim, err := w.Operations.ClaimOperation(claiming, &operationspb.ClaimOperationRequest{Name: started.Operation})
	claimed()
	switch {
	case gone(err):
		return nil
	case err != nil:
		return err
	case claim.Attempt == 0:
		return nil
	}
	working, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	o := newOperation(started.Operation, claim, w.Operations, stop)
	if o.tries > tries {
		// Its workers died of it, one after the other, without a word.
		return w.settle(ctx, o, d.Count, nil, nil, errDeadly)
	}
	go o.awaitCancellation(working)
	response, err := w.Do(working, o)
	return w.settle(ctx, o, d.Count, context.Cause(working), response, err)
}

// settle says how the work ended. cause is why its context did, if it did.
func (w Worker) settle(ctx context.Context, o *Operation, count int, cause error, response proto.Message, err error) error {
	finish := &operationspb.FinishOperationRequest{Name: o.Name, Attempt: o.attempt}
	switch {
	case errors.Is(cause, errSuperseded):
		return nil // the message is the other worker's too
	case err == nil:
		any, err := anypb.New(response)
		if err != nil {
			return err
		}
		finish.Outcome = &operationspb.FinishOperationRequest_Response{Response: any}
	case errors.Is(err, ErrHandedOver):
		return nil
	case errors.Is(cause, errCancelled):
		finish.Outcome = &operationspb.FinishOperationRequest_Cancelled{Cancelled: true}
	case ctx.Err() != nil:
		o.interrupted(ctx, "", true)
		return ctx.Err() // draining: it goes on elsewhere
	default:
		final, refused := refusal(err)
		if !refused {
			excused := passing(err)
			if count < queue.DefaultDeliveryLimit && (excused || o.tries < tries) {
				o.interrupted(ctx, "Interrupted; it goes on in a moment.", excused)
				return err
			}
			w.Log.Error("work failed", "operation", o.Name, "kind", w.Kind, "tries", o.tries, "deliveries", count, "error", err)
			final = errTried
		}
		finish.Outcome = &operationspb.FinishOperationRequest_Error{Error: final.Proto()}
	}
	settling, done := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer done()
	answer, err := w.Operations.FinishOperation(settling, finish)
	if gone(err) || err == nil && !answer.Superseded && finish.GetResponse() == nil {
		w.cleanup(ctx, o)
		return nil
	}
	return err
}

// cleanup removes what the work asked to have removed, the last first. What cannot
// be removed expires.
func (w Worker) cleanup(ctx context.Context, o *Operation) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer done()
	for _, remove := range slices.Backward(o.cleanups) {
		if err := remove(ctx); err != nil {
			w.Log.Warn("what work that ended in vain had made is not all removed", "operation", o.Name, "kind", w.Kind, "error", err)
		}
	}
}
