// Package work runs long-running operations. A Worker consumes the messages that start
// operations of one kind, and does what is the same for every kind: it claims the
// operation, reports progress, stores checkpoints, handles cancellation and retries, and
// finishes the operation. A module supplies the function that does the work.
//
// That function can be stopped at any moment, by its context or with its process. It is
// then called again, perhaps in another process, with the last checkpoint it saved. It
// must not repeat side effects of work it did before.
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
	// lease is the time after which the message of a dead worker is redelivered.
	lease = 10 * time.Second
	// maxTries is how often an operation is tried that fails with a retryable error, or
	// whose worker crashes; then the operation fails. An interruption that the work is
	// not to blame for does not count as a try: its message is redelivered up to the
	// queue's delivery limit.
	maxTries = 8
	// callTimeout bounds a call that claims an operation or reports its progress.
	callTimeout = 5 * time.Second
	// finishTimeout bounds the call that finishes an operation. It is longer than
	// callTimeout, since an overloaded moment must not lose the outcome, and bounded,
	// since a drain waits for it.
	finishTimeout = 10 * time.Second
	// cleanupTimeout bounds all cleanups of one operation together.
	cleanupTimeout = 10 * time.Second
)

var errWorkerCrashed = errors.New("every worker of the operation crashed")

// ErrHandedOver is returned by Worker.Do when another module will finish the operation,
// on receipt of a message that Do has published.
var ErrHandedOver = errors.New("another module finishes the operation")

// Worker runs the operations of one kind.
type Worker struct {
	// Kind is the kind of operation.
	Kind string
	// Queue is the name of the queue to consume. Its first word is the module's name.
	Queue string
	// Concurrency bounds how many operations run concurrently in this process.
	Concurrency int
	// Operations is the client of the operations module.
	Operations operationspb.OperationWorkClient
	// Do runs one operation. Its context ends when the operation is cancelled, when
	// another worker has claimed the operation, or when the process drains. Do then
	// cleans up process-local state and returns. What other workers of the operation may
	// use is deleted by functions registered with Operation.Cleanup.
	//
	// A permanent error (see IsPermanent) fails the operation with that error.
	Do  func(ctx context.Context, o *Operation) (proto.Message, error)
	Log *slog.Logger
}

// Topology returns the exchange and the queue that the worker consumes.
func (w Worker) Topology() queue.Topology {
	module, _, _ := strings.Cut(w.Queue, ".")
	return queue.Topology{
		Module:    module,
		Exchanges: []queue.Exchange{{Name: Exchange, Type: queue.Topic}},
		Queues:    []queue.Queue{{Name: w.Queue, Bindings: []queue.Binding{{Exchange: Exchange, Pattern: Started + "." + w.Kind}}}},
	}
}

const (
	// Exchange is the exchange on which the operations module publishes events.
	Exchange = "operations"
	// Started is the type of the message that starts an operation. Its routing key is
	// Started, a dot and the operation's kind.
	Started = "operation.started"
	// Ended is the type and routing key of the message that an operation has succeeded,
	// failed or been cancelled.
	Ended = "operation.ended"
)

// Consumer returns the consumer of the worker's queue.
func (w Worker) Consumer() queue.Consumer {
	return queue.Consumer{Queue: w.Queue, Concurrency: w.Concurrency, Prefetch: w.Concurrency, Lease: lease, Handle: queue.Idempotent(w.handle)}
}

func (w Worker) handle(ctx context.Context, d queue.Delivery, started *operationspb.OperationStarted) error {
	claimCtx, cancel := context.WithTimeout(ctx, callTimeout)
	claim, err := w.Operations.ClaimOperation(claimCtx, &operationspb.ClaimOperationRequest{Name: started.Operation})
	cancel()
	switch {
	case isNotFound(err):
		return nil
	case err != nil:
		return err
	case claim.Attempt == 0: // it has ended
		return nil
	}
	workCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	o := newOperation(started.Operation, claim, w.Operations, stop)
	if o.tries > maxTries {
		// Only a crashed worker returns no error, so none has failed the operation yet.
		return w.finish(ctx, o, d.Count, nil, nil, errWorkerCrashed)
	}
	go o.awaitCancellation(workCtx)
	response, err := w.Do(workCtx, o)
	return w.finish(ctx, o, d.Count, context.Cause(workCtx), response, err)
}

// finish finishes the operation with the result of Do, or returns an error to have the
// message redelivered. cause is the cause of the work context, nil if it has not ended.
func (w Worker) finish(ctx context.Context, o *Operation, deliveries int, cause error, response proto.Message, err error) error {
	request := &operationspb.FinishOperationRequest{Name: o.Name, Attempt: o.attempt}
	switch {
	case errors.Is(cause, errSuperseded):
		return nil // the other worker has a delivery of its own
	case err == nil:
		result, err := anypb.New(response)
		if err != nil {
			return err
		}
		request.Outcome = &operationspb.FinishOperationRequest_Response{Response: result}
	case errors.Is(err, ErrHandedOver):
		return nil
	case errors.Is(cause, errCancelled):
		request.Outcome = &operationspb.FinishOperationRequest_Cancelled{Cancelled: true}
	case ctx.Err() != nil:
		o.reportInterrupted(ctx, "", true)
		return ctx.Err() // draining: another process resumes the operation
	default:
		s, permanent := permanentStatus(err)
		if !permanent {
			transient := isTransient(err)
			if deliveries < queue.DefaultDeliveryLimit && (transient || o.tries < maxTries) {
				o.reportInterrupted(ctx, "Interrupted; resuming shortly.", transient)
				return err
			}
			w.Log.Error("work failed", "operation", o.Name, "kind", w.Kind, "tries", o.tries, "deliveries", deliveries, "error", err)
			s = statusRetriesExhausted
		}
		request.Outcome = &operationspb.FinishOperationRequest_Error{Error: s.Proto()}
	}
	finishCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	answer, err := w.Operations.FinishOperation(finishCtx, request)
	if isNotFound(err) || err == nil && !answer.Superseded && request.GetResponse() == nil {
		w.cleanup(ctx, o)
		return nil
	}
	return err
}

// cleanup calls the operation's cleanups, last registered first. What a failed cleanup
// leaves behind expires.
func (w Worker) cleanup(ctx context.Context, o *Operation) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer done()
	for _, remove := range slices.Backward(o.cleanups) {
		if err := remove(ctx); err != nil {
			w.Log.Warn("cleanup after failed work incomplete: leftovers will expire", "operation", o.Name, "kind", w.Kind, "error", err)
		}
	}
}
