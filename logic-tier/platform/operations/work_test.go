package operations_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/work"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// sumsWorker returns a worker that runs do and responds with 42.
func sumsWorker(client operationspb.OperationWorkClient, do func(context.Context, *work.Operation) error) work.Worker {
	return work.Worker{
		Kind: "sums", Queue: "sums", Concurrency: 8, Operations: client, Log: slog.New(slog.DiscardHandler),
		Do: func(ctx context.Context, o *work.Operation) (proto.Message, error) {
			return wrapperspb.Int64(42), do(ctx, o)
		},
	}
}

func TestOperationReportsProgressAndResponse(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	p := e.start(func(ctx context.Context, o *work.Operation) error {
		o.SetTotal(10, "sums")
		o.Advance(ctx, 4)
		return o.Step(ctx, "Four of ten.")
	})
	created := p.create(7, "one")
	if created.Done || metadata(t, created).State != operationspb.OperationMetadata_STATE_WAITING {
		t.Errorf("created: got %v, want a waiting operation", created)
	}
	o, m := p.waitDone(7, created.Name)
	number := &wrapperspb.Int64Value{}
	if err := o.GetResponse().UnmarshalTo(number); err != nil || number.Value != 42 {
		t.Errorf("got response %v, %v; want 42", o.GetResponse(), err)
	}
	if m.State != operationspb.OperationMetadata_STATE_SUCCEEDED || m.Percent != 100 || m.DoneCount != 10 || m.Unit != "sums" || m.ExpireTime == nil {
		t.Errorf("got %v, want succeeded with 10 of 10 sums", m)
	}
	if got, want := steps(m), []string{"Started.", "Four of ten.", "Done."}; !slices.Equal(got, want) {
		t.Errorf("got steps %q, want %q", got, want)
	}
	e.waitFor("operation.ended is published", func() bool { return e.endedMessages() == 1 })
}

func steps(m *operationspb.OperationMetadata) (texts []string) {
	for _, step := range m.Steps {
		texts = append(texts, step.Text)
	}
	return texts
}

func TestCreateIsIdempotentByRequestID(t *testing.T) {
	t.Parallel()
	p := newEnvironment(t).start(nil)
	if a, b := p.create(7, "one"), p.create(7, "one"); a.Name != b.Name {
		t.Errorf("got %s and %s, want the same operation", a.Name, b.Name)
	}
	if a, b := p.create(7, "one"), p.create(8, "one"); a.Name == b.Name {
		t.Error("two accounts share an operation")
	}
	_, err := p.work.CreateOperation(t.Context(), &operationspb.CreateOperationRequest{AccountId: 7, Kind: "other", Title: "x", RequestId: "one"})
	expectReason(t, err, "REQUEST_ID_TAKEN")
}

func expectReason(t *testing.T, err error, reason string) {
	t.Helper()
	var f *apperror.Failure
	if !errors.As(err, &f) || f.Reason != reason {
		t.Errorf("got %v, want %s", err, reason)
	}
}

// A worker dies after a checkpoint. Another one resumes from it, and the visible
// progress does not go back.
func TestAnotherWorkerResumesFromCheckpoint(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	reached, resumed := make(chan struct{}), make(chan int64, 1)
	var once sync.Once
	do := func(ctx context.Context, o *work.Operation) error {
		o.SetTotal(10, "sums")
		checkpoint := &wrapperspb.Int64Value{}
		if _, err := o.LoadCheckpoint(checkpoint); err != nil {
			return err
		}
		first := false
		once.Do(func() { first = true })
		if !first {
			resumed <- checkpoint.Value
			o.Advance(ctx, checkpoint.Value)
			return nil
		}
		if err := o.SaveCheckpoint(ctx, 6, wrapperspb.Int64(6)); err != nil {
			return err
		}
		o.Advance(ctx, 8) // after the checkpoint
		_ = o.Step(ctx, "Eight.")
		close(reached)
		<-ctx.Done()
		return ctx.Err()
	}
	dying := e.start(do)
	name := dying.create(7, "one").Name
	<-reached
	dying.stop()
	p := e.start(do)
	if got := <-resumed; got != 6 {
		t.Errorf("resumed from %d, want 6", got)
	}
	_, m := p.waitDone(7, name)
	if m.State != operationspb.OperationMetadata_STATE_SUCCEEDED || !slices.Contains(steps(m), "Resumed after an interruption.") {
		t.Errorf("got %v, want resumed and succeeded", m)
	}
}

func TestProgressNeverDecreases(t *testing.T) {
	t.Parallel()
	p := newEnvironment(t).start(nil)
	name := p.create(7, "one").Name
	report := func(attempt, done int64) *operationspb.ReportOperationResponse {
		t.Helper()
		response, err := p.work.ReportOperation(t.Context(), &operationspb.ReportOperationRequest{Name: name, Attempt: attempt, DoneCount: done, TotalCount: 10})
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	claim := func() int64 {
		t.Helper()
		response, err := p.work.ClaimOperation(t.Context(), &operationspb.ClaimOperationRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return response.Attempt
	}
	first := claim()
	report(first, 7)
	second := claim()
	if !report(first, 9).Superseded {
		t.Error("the first worker's report is not answered with superseded")
	}
	report(second, 3)
	if _, m := p.get(7, name); m.DoneCount != 7 || m.Percent != 70 {
		t.Errorf("got %d done, %d %%; want 7, 70 %%", m.DoneCount, m.Percent)
	}
}

func TestCancelInterruptsRunningWork(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	started, returned := make(chan struct{}), make(chan struct{})
	p := e.start(func(ctx context.Context, o *work.Operation) error {
		close(started)
		<-ctx.Done() // without reporting, which would return the cancellation too
		close(returned)
		return ctx.Err()
	})
	name := p.create(7, "one").Name
	<-started
	p.cancel(7, name)
	o, m := p.waitDone(7, name)
	<-returned
	if m.State != operationspb.OperationMetadata_STATE_CANCELLED || codes.Code(o.GetError().GetCode()) != codes.Canceled {
		t.Errorf("got %v, want cancelled", o)
	}
	if e.endedMessages() != 0 {
		t.Error("operation.ended is published for a cancelled operation")
	}
	p.cancel(7, name) // idempotent
	if _, again := p.get(7, name); again.Cursor != m.Cursor {
		t.Errorf("cancelled again: got cursor %s, want %s", again.Cursor, m.Cursor)
	}
}

func TestCancelFinishesWaitingOperation(t *testing.T) {
	t.Parallel()
	p := newEnvironment(t).start(nil)
	name := p.create(7, "one").Name
	p.cancel(7, name)
	if _, m := p.get(7, name); m.State != operationspb.OperationMetadata_STATE_CANCELLED {
		t.Errorf("got %v, want cancelled", m.State)
	}
	response, err := p.work.ClaimOperation(t.Context(), &operationspb.ClaimOperationRequest{Name: name})
	if err != nil || response.Attempt != 0 {
		t.Errorf("claim: got %v, %v; want attempt 0", response, err)
	}
}

func TestRejectedWorkFailsWithItsMessage(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	p := e.start(func(context.Context, *work.Operation) error {
		return apperror.New(apperror.Invalid, "NOT_A_SUM", "not a sum; send another")
	})
	o, m := p.waitDone(7, p.create(7, "one").Name)
	if codes.Code(o.GetError().GetCode()) != codes.InvalidArgument || o.GetError().GetMessage() != "not a sum; send another" {
		t.Errorf("got error %v, want InvalidArgument with the worker's message", o.GetError())
	}
	if m.State != operationspb.OperationMetadata_STATE_FAILED {
		t.Errorf("got %v, want failed", m.State)
	}
	e.waitFor("operation.ended is published", func() bool { return e.endedMessages() == 1 })
}

func TestWorkIsRetriedAfterInternalErrors(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tries := 0
	p := newEnvironment(t).start(func(context.Context, *work.Operation) error {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries < 3 {
			return errors.New("pq: secret")
		}
		return nil
	})
	_, m := p.waitDone(7, p.create(7, "one").Name)
	if m.State != operationspb.OperationMetadata_STATE_SUCCEEDED || tries != 3 {
		t.Errorf("got %v after %d tries, want succeeded after 3", m.State, tries)
	}
}

func (p *process) cancel(account int64, name string) {
	p.t.Helper()
	if err := p.tryCancel(account, name); err != nil {
		p.t.Fatal(err)
	}
}

// runAfterTries returns the finished operation of a worker that claims it after the
// given number of tries.
func (e *environment) runAfterTries(tries int, do func(context.Context, *work.Operation) error) (*longrunningpb.Operation, *operationspb.OperationMetadata) {
	e.t.Helper()
	name := e.start(nil).create(7, "one").Name
	if _, err := e.database.Superuser().Exec(`update operations.operation set tries = $1`, tries); err != nil {
		e.t.Fatal(err)
	}
	return e.start(do).waitDone(7, name)
}

// An unavailable or busy module, or a conflict with another worker, is not the
// work's fault. Such attempts do not count, however often they happen.
func TestInterruptionsDoNotCountAsTries(t *testing.T) {
	t.Parallel()
	for name, interruption := range map[string]error{
		"unavailable": status.Error(codes.Unavailable, "unavailable"),
		"busy":        apperror.New(apperror.Exhausted, "BUSY", "retry later").RetryIn(time.Second),
		"conflict":    apperror.New(apperror.Conflict, "OFFSET_MISMATCH", "another worker has written meanwhile"),
	} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			o, m := newEnvironment(t).runAfterTries(7, func(context.Context, *work.Operation) error {
				if runs++; runs <= 3 {
					return interruption
				}
				return nil
			})
			if m.State != operationspb.OperationMetadata_STATE_SUCCEEDED {
				t.Errorf("got %v after %d runs, want succeeded", o, runs)
			}
		})
	}
}

// The last try's error fails the operation. A limit without a retry delay is an error,
// not an interruption.
func TestWorkFailsAfterItsLastTry(t *testing.T) {
	t.Parallel()
	for name, reason := range map[string]error{
		"internal": errors.New("pq: secret"),
		"full":     apperror.New(apperror.Exhausted, "QUOTA_EXCEEDED", "storage quota exceeded"),
	} {
		t.Run(name, func(t *testing.T) {
			runs := 0
			o, m := newEnvironment(t).runAfterTries(7, func(context.Context, *work.Operation) error {
				runs++
				return reason
			})
			if m.State != operationspb.OperationMetadata_STATE_FAILED || runs != 1 {
				t.Errorf("got %v after %d runs, want failed after 1", o, runs)
			}
		})
	}
}

func TestDrainDoesNotCountAsTry(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	started := make(chan struct{})
	p := e.start(func(ctx context.Context, _ *work.Operation) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	})
	p.create(7, "one")
	<-started
	p.stop()
	var tries, attempts int
	if err := e.database.Superuser().QueryRow(`select tries, attempt from operations.operation`).Scan(&tries, &attempts); err != nil {
		t.Fatal(err)
	}
	if tries != 0 || attempts != 1 {
		t.Errorf("got %d tries and %d attempts, want 0 and 1", tries, attempts)
	}
}

// Only the worker that finishes the operation cleans up after it. A superseded worker
// must not, since the other one still needs what it would remove.
func TestOnlyTheFinishingWorkerCleansUp(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	cleaned := make(chan int, 2)
	idle := e.start(nil)
	name := idle.create(7, "one").Name
	body, err := proto.Marshal(&operationspb.OperationStarted{Operation: name})
	if err != nil {
		t.Fatal(err)
	}
	deliver := func(do func(context.Context, *work.Operation) error) {
		delivery := queue.Delivery{ContentType: queue.ContentType, Body: body, Count: 1}
		if err := sumsWorker(idle.work, do).Consumer().Handle(t.Context(), delivery); err != nil {
			t.Error(err)
		}
	}
	firstClaimed, secondClaimed, firstDone := make(chan struct{}), make(chan struct{}), make(chan struct{})
	failing := func(number int, claimed chan<- struct{}, proceed <-chan struct{}) func(context.Context, *work.Operation) error {
		return func(_ context.Context, o *work.Operation) error {
			o.Cleanup(func(context.Context) error { cleaned <- number; return nil })
			close(claimed)
			<-proceed
			return apperror.New(apperror.Invalid, "NOT_A_SUM", "not a sum; send another")
		}
	}
	go func() {
		defer close(firstDone)
		deliver(failing(1, firstClaimed, secondClaimed))
	}()
	<-firstClaimed
	deliver(failing(2, secondClaimed, firstDone))
	if got := <-cleaned; got != 2 || len(cleaned) > 0 {
		t.Errorf("worker %d cleaned up, and %d more; want only worker 2", got, len(cleaned))
	}
	if _, m := idle.get(7, name); m.State != operationspb.OperationMetadata_STATE_FAILED {
		t.Errorf("got %v, want failed", m.State)
	}
}

func TestWorkThatCrashesItsWorkersFails(t *testing.T) {
	t.Parallel()
	o, m := newEnvironment(t).runAfterTries(8, func(context.Context, *work.Operation) error {
		t.Error("the work is tried again")
		return nil
	})
	if m.State != operationspb.OperationMetadata_STATE_FAILED || o.GetError().GetMessage() == "" {
		t.Errorf("got %v, want failed with a message", o)
	}
}
