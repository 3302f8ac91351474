package work

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// reportInterval is the minimum time between two progress reports: short enough that a
// progress bar moves, long enough that reports cost nothing beside the work.
const reportInterval = 300 * time.Millisecond

// awaitTimeout bounds one AwaitCancellation call. It is longer than the operations
// module's own limit, so that only a call that hangs is abandoned and repeated.
const awaitTimeout = time.Minute

// awaitBackoff is the delay before AwaitCancellation is called again after an error.
const awaitBackoff = 300 * time.Millisecond

var (
	errCancelled  = errors.New("the operation is being cancelled")
	errSuperseded = errors.New("another worker has claimed the operation")
)

// Operation is an operation that a worker has claimed. It is safe for concurrent use,
// except for Cleanup.
type Operation struct {
	// Name is "operations/{operation}".
	Name string
	// AccountID is the owner's account; 0 is the operator.
	AccountID int64

	input, checkpoint []byte
	attempt           int64
	tries             int32
	client            operationspb.OperationWorkClient
	stop              context.CancelCauseFunc
	cleanups          []func(context.Context) error // written by Worker.Do, read after it returns

	mu          sync.Mutex
	done, total int64
	unit        string
	lastReport  time.Time
}

func newOperation(name string, c *operationspb.ClaimOperationResponse, client operationspb.OperationWorkClient, stop context.CancelCauseFunc) *Operation {
	return &Operation{
		Name: name, AccountID: c.AccountId, input: c.Input, checkpoint: c.Checkpoint, attempt: c.Attempt, tries: c.Tries,
		done: c.DoneCount, total: c.TotalCount, client: client, stop: stop,
	}
}

// Input unmarshals the message that the operation was created with into dst.
func (o *Operation) Input(dst proto.Message) error { return proto.Unmarshal(o.input, dst) }

// LoadCheckpoint unmarshals the last checkpoint into dst. It reports false when there is
// none and the work starts from the beginning.
func (o *Operation) LoadCheckpoint(dst proto.Message) (bool, error) {
	if len(o.checkpoint) == 0 {
		return false, nil
	}
	return true, proto.Unmarshal(o.checkpoint, dst)
}

// SetTotal sets the amount of work and its unit. The total may grow later.
func (o *Operation) SetTotal(total int64, unit string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.total, o.unit = total, unit
}

// Advance records how much of the total is done. It reports the progress at most once
// per reportInterval, and ignores errors: a lost report does not fail the work.
func (o *Operation) Advance(ctx context.Context, done int64) {
	o.mu.Lock()
	o.done = max(o.done, done)
	if time.Since(o.lastReport) < reportInterval {
		o.mu.Unlock()
		return
	}
	o.mu.Unlock()
	_ = o.report(ctx, &operationspb.ReportOperationRequest{})
}

// Step adds a line of text to the operation's log, which its owner reads.
func (o *Operation) Step(ctx context.Context, text string) error {
	return o.report(ctx, &operationspb.ReportOperationRequest{Step: text})
}

// SaveCheckpoint stores a checkpoint. If the work is interrupted, the next worker resumes
// from it.
func (o *Operation) SaveCheckpoint(ctx context.Context, done int64, checkpoint proto.Message) error {
	bytes, err := proto.Marshal(checkpoint)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.done = max(o.done, done)
	o.mu.Unlock()
	return o.report(ctx, &operationspb.ReportOperationRequest{Checkpoint: bytes})
}

// Cleanup registers a function that this worker calls after it has finished the
// operation as failed or cancelled, last registered first. It never runs while another
// worker has claimed the operation and may need what it deletes. It does not run when the
// process dies first, so it must delete only what expires anyway. Cleanup is not safe for
// concurrent use.
func (o *Operation) Cleanup(remove func(context.Context) error) {
	o.cleanups = append(o.cleanups, remove)
}

// reportInterrupted reports that the worker stops before the work is done. excused means
// that the work is not to blame, so the attempt does not count as a try. The report is
// sent even if ctx has ended.
func (o *Operation) reportInterrupted(ctx context.Context, step string, excused bool) {
	_ = o.report(context.WithoutCancel(ctx), &operationspb.ReportOperationRequest{Step: step, Excused: excused})
}

func (o *Operation) report(ctx context.Context, r *operationspb.ReportOperationRequest) error {
	o.mu.Lock()
	o.lastReport = time.Now()
	r.Name, r.Attempt, r.DoneCount, r.TotalCount, r.Unit = o.Name, o.attempt, o.done, o.total, o.unit
	o.mu.Unlock()
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	response, err := o.client.ReportOperation(ctx, r)
	if err != nil {
		return err
	}
	return o.stopIf(response.Superseded, response.CancelRequested)
}

// stopIf cancels the context of the work if the operation was superseded or is being
// cancelled, and returns the cause.
func (o *Operation) stopIf(superseded, cancelRequested bool) error {
	var cause error
	switch {
	case superseded:
		cause = errSuperseded
	case cancelRequested:
		cause = errCancelled
	default:
		return nil
	}
	o.stop(cause)
	return cause
}

// awaitCancellation cancels the context of the work as soon as a cancellation of the
// operation is requested, even while the work makes no calls. It returns when ctx ends.
func (o *Operation) awaitCancellation(ctx context.Context) {
	for ctx.Err() == nil {
		waiting, done := context.WithTimeout(ctx, awaitTimeout)
		response, err := o.client.AwaitCancellation(waiting, &operationspb.AwaitCancellationRequest{Name: o.Name, Attempt: o.attempt})
		done()
		if err == nil {
			if o.stopIf(response.Superseded, response.CancelRequested) != nil {
				return
			}
			continue
		}
		if isNotFound(err) { // deleted with its account
			o.stop(errCancelled)
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(awaitBackoff):
		}
	}
}
