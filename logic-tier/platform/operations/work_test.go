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

// sums is a worker whose work is a function; its response is a number.
func sums(client operationspb.OperationWorkClient, do func(context.Context, *work.Operation) error) work.Worker {
	return work.Worker{
		Kind: "sums", Queue: "sums", Concurrency: 8, Operations: client, Log: slog.New(slog.DiscardHandler),
		Do: func(ctx context.Context, o *work.Operation) (proto.Message, error) {
			return wrapperspb.Int64(42), do(ctx, o)
		},
	}
}

func TestWorkIsDoneBehindItsHandle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(func(ctx context.Context, o *work.Operation) error {
		o.SetTotal(10, "sums")
		o.Advance(ctx, 4)
		return o.Step(ctx, "Four of ten.")
	})
	began := p.begin(7, "one")
	if began.Done || metadata(t, began).State != operationspb.OperationMetadata_STATE_WAITING {
		t.Errorf("it begins as %v", began)
	}
	o, m := p.done(7, began.Name)
	number := &wrapperspb.Int64Value{}
	if err := o.GetResponse().UnmarshalTo(number); err != nil || number.Value != 42 {
		t.Errorf("its response is %v, %v", o.GetResponse(), err)
	}
	if m.State != operationspb.OperationMetadata_STATE_SUCCEEDED || m.Percent != 100 || m.DoneCount != 10 || m.Unit != "sums" || m.ExpireTime == nil {
		t.Errorf("it ends as %v", m)
	}
	if got := steps(m); !slices.Equal(got, []string{"Begun.", "Four of ten.", "Done."}) {
		t.Errorf("its steps are %q", got)
	}
	s.until("its account is told", func() bool { return s.ended() == 1 })
}

func steps(m *operationspb.OperationMetadata) (texts []string) {
	for _, step := range m.Steps {
		texts = append(texts, step.Text)
	}
	return texts
}

func TestTheSameRequestIsTheSameOperation(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil)
	if a, b := p.begin(7, "one"), p.begin(7, "one"); a.Name != b.Name {
		t.Errorf("%s and %s", a.Name, b.Name)
	}
	if a, b := p.begin(7, "one"), p.begin(8, "one"); a.Name == b.Name {
		t.Error("two accounts share one")
	}
	_, err := p.work.CreateOperation(t.Context(), &operationspb.CreateOperationRequest{AccountId: 7, Kind: "other", Title: "x", RequestId: "one"})
	refused(t, err, "REQUEST_ID_TAKEN")
}

func refused(t *testing.T, err error, reason string) {
	t.Helper()
	var f *apperror.Failure
	if !errors.As(err, &f) || f.Reason != reason {
		t.Errorf("got %v, want %s", err, reason)
	}
}

// A worker dies after a checkpoint. Another goes on from there, and what people
// see never goes back.
func TestADeadWorkersWorkGoesOnFromItsCheckpoint(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	reached, resumed := make(chan struct{}), make(chan int64, 1)
	var first sync.Once
	do := func(ctx context.Context, o *work.Operation) error {
		o.SetTotal(10, "sums")
		at := &wrapperspb.Int64Value{}
		if _, err := o.LoadCheckpoint(at); err != nil {
			return err
		}
		dies := false
		first.Do(func() { dies = true })
		if !dies {
			resumed <- at.Value
			o.Advance(ctx, at.Value)
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
	dying := s.start(do)
	name := dying.begin(7, "one").Name
	<-reached
	dying.stop()
	p := s.start(do)
	if got := <-resumed; got != 6 {
		t.Errorf("it goes on from %d", got)
	}
	_, m := p.done(7, name)
	if m.State != operationspb.OperationMetadata_STATE_SUCCEEDED || !slices.Contains(steps(m), "Taken up again where it was.") {
		t.Errorf("it ends as %v", m)
	}
}

func TestProgressNeverGoesBack(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil)
	name := p.begin(7, "one").Name
	report := func(attempt, done int64) *operationspb.ReportOperationResponse {
		t.Helper()
		answer, err := p.work.ReportOperation(t.Context(), &operationspb.ReportOperationRequest{Name: name, Attempt: attempt, DoneCount: done, TotalCount: 10})
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	claim := func() int64 {
		t.Helper()
		answer, err := p.work.ClaimOperation(t.Context(), &operationspb.ClaimOperationRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		return answer.Attempt
	}
	one := claim()
	report(one, 7)
	two := claim()
	if !report(one, 9).Superseded {
		t.Error("the first worker is not told that it has it no longer")
	}
	report(two, 3)
	if _, m := p.get(7, name); m.DoneCount != 7 || m.Percent != 70 {
		t.Errorf("done are %d, %d %%", m.DoneCount, m.Percent)
	}
}

func TestCancelStopsTheWorkInTheMiddle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	began, cleaned := make(chan struct{}), make(chan struct{})
	p := s.start(func(ctx context.Context, o *work.Operation) error {
		close(began)
		<-ctx.Done() // in the middle of a step that reports nothing
		close(cleaned)
		return ctx.Err()
	})
	name := p.begin(7, "one").Name
	<-began
	p.cancel(7, name)
	o, m := p.done(7, name)
	<-cleaned
	if m.State != operationspb.OperationMetadata_STATE_CANCELLED || codes.Code(o.GetError().GetCode()) != codes.Canceled {
		t.Errorf("it ends as %v", o)
	}
	if s.ended() != 0 {
		t.Error("who cancelled it is told of it")
	}
	p.cancel(7, name) // again changes nothing
	if _, again := p.get(7, name); again.Cursor != m.Cursor {
		t.Errorf("cancelled again it is %s after %s", again.Cursor, m.Cursor)
	}
}

// What waits is cancelled without a worker.
func TestCancelOfWhatHasNotBegun(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil)
	name := p.begin(7, "one").Name
	p.cancel(7, name)
	if _, m := p.get(7, name); m.State != operationspb.OperationMetadata_STATE_CANCELLED {
		t.Errorf("it is %v", m.State)
	}
	answer, err := p.work.ClaimOperation(t.Context(), &operationspb.ClaimOperationRequest{Name: name})
	if err != nil || answer.Attempt != 0 {
		t.Errorf("a worker gets %v, %v", answer, err)
	}
}

func TestARefusalEndsTheWorkWithItsWords(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(func(context.Context, *work.Operation) error {
		return apperror.New(apperror.Invalid, "NOT_A_SUM", "this is no sum; send another")
	})
	o, m := p.done(7, p.begin(7, "one").Name)
	if codes.Code(o.GetError().GetCode()) != codes.InvalidArgument || o.GetError().GetMessage() != "this is no sum; send another" {
		t.Errorf("its error is %v", o.GetError())
	}
	if m.State != operationspb.OperationMetadata_STATE_FAILED {
		t.Errorf("it is %v", m.State)
	}
	s.until("its account is told", func() bool { return s.ended() == 1 })
}

// What may pass is tried again; people never read what went wrong inside.
func TestWhatMayPassIsTriedAgain(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	tries := 0
	p := newSite(t).start(func(context.Context, *work.Operation) error {
		mu.Lock()
		defer mu.Unlock()
		if tries++; tries < 3 {
			return errors.New("pq: secret")
		}
		return nil
	})
	_, m := p.done(7, p.begin(7, "one").Name)
	if m.State != operationspb.OperationMetadata_STATE_SUCCEEDED || tries != 3 {
		t.Errorf("after %d tries it is %v", tries, m.State)
	}
}

func (p *process) cancel(account int64, name string) {
	p.t.Helper()
	if err := p.tryCancel(account, name); err != nil {
		p.t.Fatal(err)
	}
}

// tried returns how an operation ends that was begun so often before.
func (s *site) tried(times int, do func(context.Context, *work.Operation) error) (*longrunningpb.Operation, *operationspb.OperationMetadata) {
	s.t.Helper()
	name := s.start(nil).begin(7, "one").Name
	if _, err := s.database.Superuser().Exec(`update operations.operation set tries = $1`, times); err != nil {
		s.t.Fatal(err)
	}
	return s.start(do).done(7, name)
}

// A neighbour that is away, or another worker that is in the way, is no fault of the
// work: it goes on, however often it was interrupted.
func TestAnInterruptionIsNoTry(t *testing.T) {
	t.Parallel()
	for name, interruption := range map[string]error{
		"away": status.Error(codes.Unavailable, "away"),
		"busy": apperror.New(apperror.Exhausted, "BUSY", "come back").RetryIn(time.Second),
		"beat": apperror.New(apperror.Conflict, "OFFSET_MISMATCH", "somebody else was quicker"),
	} {
		t.Run(name, func(t *testing.T) {
			times := 0
			o, m := newSite(t).tried(7, func(context.Context, *work.Operation) error {
				if times++; times <= 3 {
					return interruption
				}
				return nil
			})
			if m.State != operationspb.OperationMetadata_STATE_SUCCEEDED {
				t.Errorf("after %d times it ends as %v", times, o)
			}
		})
	}
}

// What fails for the last time says so, and a limit without a time to come back is no
// interruption.
func TestWorkIsNotTriedForEver(t *testing.T) {
	t.Parallel()
	for name, reason := range map[string]error{
		"inside": errors.New("pq: secret"),
		"full":   apperror.New(apperror.Exhausted, "QUOTA_EXCEEDED", "there is no room"),
	} {
		t.Run(name, func(t *testing.T) {
			times := 0
			o, m := newSite(t).tried(7, func(context.Context, *work.Operation) error {
				times++
				return reason
			})
			if m.State != operationspb.OperationMetadata_STATE_FAILED || times != 1 {
				t.Errorf("after %d times it ends as %v", times, o)
			}
		})
	}
}

// A process that drains takes nothing from the tries of what it worked.
func TestADrainIsNoTry(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	began := make(chan struct{})
	p := s.start(func(ctx context.Context, _ *work.Operation) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	})
	p.begin(7, "one")
	<-began
	p.stop()
	var tries, attempts int
	if err := s.database.Superuser().QueryRow(`select tries, attempt from operations.operation`).Scan(&tries, &attempts); err != nil {
		t.Fatal(err)
	}
	if tries != 0 || attempts != 1 {
		t.Errorf("%d tries are counted of %d attempts", tries, attempts)
	}
}

// Only the worker that ended the operation cleans up after it: what one that was
// superseded thinks of it harms nobody.
func TestOnlyWhoEndsItCleansUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	cleaned := make(chan int, 2)
	quiet := s.start(nil)
	name := quiet.begin(7, "one").Name
	body, err := proto.Marshal(&operationspb.OperationStarted{Operation: name})
	if err != nil {
		t.Fatal(err)
	}
	deliver := func(do func(context.Context, *work.Operation) error) {
		delivery := queue.Delivery{ContentType: queue.ContentType, Body: body, Count: 1}
		if err := sums(quiet.work, do).Consumer().Handle(t.Context(), delivery); err != nil {
			t.Error(err)
		}
	}
	firstHasIt, secondHasIt, firstIsOver := make(chan struct{}), make(chan struct{}), make(chan struct{})
	works := func(number int, begun chan<- struct{}, until <-chan struct{}) func(context.Context, *work.Operation) error {
		return func(_ context.Context, o *work.Operation) error {
			o.Cleanup(func(context.Context) error { cleaned <- number; return nil })
			close(begun)
			<-until
			return apperror.New(apperror.Invalid, "NOT_A_SUM", "this is no sum; send another")
		}
	}
	go func() {
		defer close(firstIsOver)
		deliver(works(1, firstHasIt, secondHasIt))
	}()
	<-firstHasIt
	deliver(works(2, secondHasIt, firstIsOver))
	if got := <-cleaned; got != 2 || len(cleaned) > 0 {
		t.Errorf("worker %d cleans up, and %d more", got, len(cleaned))
	}
	if _, m := quiet.get(7, name); m.State != operationspb.OperationMetadata_STATE_FAILED {
		t.Errorf("it is %v", m.State)
	}
}

// Work that its workers died of, again and again, ends; nobody tries it for ever.
func TestWorkThatKillsItsWorkersIsGivenUp(t *testing.T) {
	t.Parallel()
	o, m := newSite(t).tried(8, func(context.Context, *work.Operation) error {
		t.Error("it is tried once more")
		return nil
	})
	if m.State != operationspb.OperationMetadata_STATE_FAILED || o.GetError().GetMessage() == "" {
		t.Errorf("it ends as %v", o)
	}
}
