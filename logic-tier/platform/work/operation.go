package work

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// reportEvery is how often progress is told at most: often enough that a bar
// moves, seldom enough that it costs nothing beside the work.
const reportEvery = 300 * time.Millisecond

// awaitTimeout bounds one wait for a cancellation, longer than the operations module
// itself does: one that hangs is begun anew.
const awaitTimeout = time.Minute

// awaitPause is the pause before cancellation is waited for anew after an error.
const awaitPause = 300 * time.Millisecond

var (
	errCancelled  = errors.New("the operation is to be cancelled")
	errSuperseded = errors.New("the operation is another worker's")
)

// Operation is an operation that is being worked. Safe for concurrent use.
type Operation struct {
	// Name is "operations/{operation}".
	Name string
	// AccountID is whose it is; 0 is the operator.
	AccountID int64

	input, checkpoint []byte
	attempt           int64
	tries             int32
	client            operationspb.OperationWorkClient
	stop              context.CancelCauseFunc
	cleanups          []func(context.Context) error // used by the work and, after it, by its worker

	mu          sync.Mutex
	done, total int64
	unit        string
	told        time.Time
}

func newOperation(name string, c *operationspb.ClaimOperationResponse, client operationspb.OperationWorkClient, stop context.CancelCauseFunc) *Operation {
	return &Operation{
		Name: name, AccountID: c.AccountId, input: c.Input, checkpoint: c.Checkpoint, attempt: c.Attempt, tries: c.Tries,
		done: c.DoneCount, total: c.TotalCount, client: client, stop: stop,
	}
}

// Input reads what the work was created with.
func (o *Operation) Input(into proto.Message) error { return proto.Unmarshal(o.input, into) }

// Resume reads the last checkpoint; false when there is none: from the start.
func (o *Operation) Resume(into proto.Message) (bool, error) {
	if len(o.checkpoint) == 0 {
		return false, nil
	}
	return true, proto.Unmarshal(o.checkpoint, into)
}

// Expect says how much there is to do, in which unit; it may grow.
func (o *Operation) Expect(total int64, unit string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total, o.unit = total, unit
}

// Advance says how much is done. It is told every so often, and an error of
// telling is no error of the work.
func (o *Operation) Advance(ctx context.Context, done int64) {
	o.mu.Lock()
	o.done = max(o.done, done)
	if time.Since(o.told) < reportEvery {
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	_ = o.report(ctx, &operationspb.ReportOperationRequest{})
}

// Step says what happened, for people.
func (o *Operation) Step(ctx context.Context, text string) error {
	return o.report(ctx, &operationspb.ReportOperationRequest{Step: text})
}

// Save keeps a checkpoint: the work goes on from there when it is interrupted.
func (o *Operation) Save(ctx context.Context, done int64, checkpoint proto.Message) error {
	bytes, err := proto.Marshal(checkpoint)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.done = max(o.done, done)
	o.mu.Unlock()
	return o.report(ctx, &operationspb.ReportOperationRequest{Checkpoint: bytes})
}

// Cleanup has something removed once the operation has failed or was cancelled, by
// this worker: never while another one has it, which may need it. The last is called
// first. A process that dies in between leaves it: it must be something that expires.
// Not safe for concurrent use.
func (o *Operation) Cleanup(remove func(context.Context) error) {
	o.cleanups = append(o.cleanups, remove)
}

// interrupted says that the worker stops before the end; excused, for no fault of the
// work's, which was not tried then. It is told also when ctx has ended.
func (o *Operation) interrupted(ctx context.Context, step string, excused bool) {
	_ = o.report(context.WithoutCancel(ctx), &operationspb.ReportOperationRequest{Step: step, Excused: excused})
}

func (o *Operation) report(ctx context.Context, r *operationspb.ReportOperationRequest) error {
	o.mu.Lock()
	o.told = time.Now()
	r.Name, r.Attempt, r.DoneCount, r.TotalCount, r.Unit = o.Name, o.attempt, o.done, o.total, o.unit
	o.mu.Unlock()
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	answer, err := o.client.ReportOperation(ctx, r)
	if err != nil {
		return err
	}
	return o.heed(answer.Superseded, answer.CancelRequested)
}

// heed ends the work's context when it should.
func (o *Operation) heed(superseded, cancelRequested bool) error {
	var why error
	switch {
	case superseded:
		why = errSuperseded
	case cancelRequested:
		why = errCancelled
	default:
		return nil
	}
	o.stop(why)
	return why
}

// awaitCancellation ends the work's context as soon as the operation is
// cancelled, whatever the work does meanwhile.
func (o *Operation) awaitCancellation(ctx context.Context) {
	for ctx.Err() == nil {
		waiting, done := context.WithTimeout(ctx, awaitTimeout)
		answer, err := o.client.AwaitCancellation(waiting, &operationspb.AwaitCancellationRequest{Name: o.Name, Attempt: o.attempt})
		done()
		if err == nil {
			if o.heed(answer.Superseded, answer.CancelRequested) != nil {
				return
			}
			continue
		}
		if gone(err) { // with its account
			o.stop(errCancelled)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(awaitPause):
		}
	}
}
