package operations_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/lib/pq"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/work"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// published returns the routing keys of the published operation.started messages, in
// order.
func (e *environment) published() (keys []string) {
	e.t.Helper()
	if err := e.database.Superuser().QueryRow(`select coalesce(array_agg(routing_key order by id), '{}') from queue.message where type = 'operation.started'`).Scan(pq.Array(&keys)); err != nil {
		e.t.Fatal(err)
	}
	return keys
}

func (p *process) tryCreate(account int64, kind, requestID string) (*operationspb.CreateOperationResponse, error) {
	return p.work.CreateOperation(p.t.Context(), &operationspb.CreateOperationRequest{AccountId: account, Kind: kind, Title: kind, RequestId: requestID})
}

func TestCreateRejectsTooManyWaitingOperations(t *testing.T) {
	t.Parallel()
	p := newEnvironment(t).start(nil)
	var names []string
	for n := range 21 {
		names = append(names, p.create(7, string(rune('a'+n))).Name)
	}
	_, err := p.tryCreate(7, "sums", "one more")
	expectReason(t, err, "TOO_MANY_OPERATIONS")
	var f *apperror.Failure
	if errors.As(err, &f) && f.RetryAfter <= 0 {
		t.Error("the rejection has no retry delay")
	}
	p.create(8, "other account")
	if got := p.published(); len(got) != 2 {
		t.Errorf("got %d dispatched operations, want one per account", len(got))
	}
	p.cancel(7, names[0])
	if got := p.published(); len(got) != 3 {
		t.Errorf("after one finished: got %d dispatched operations, want 3", len(got))
	}
	p.create(7, "after one finished")
}

func TestAccountRunsOneOperationOfEachKind(t *testing.T) {
	t.Parallel()
	p := newEnvironment(t).start(nil)
	first := p.create(7, "first").Name
	for _, c := range [][2]string{{"sums", "second"}, {"products", "third"}, {"products", "fourth"}} {
		if _, err := p.tryCreate(7, c[0], c[1]); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := p.published(), []string{"operation.started.sums", "operation.started.products"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	p.cancel(7, first)
	if got, want := p.published(), []string{"operation.started.sums", "operation.started.products", "operation.started.sums"}; !slices.Equal(got, want) {
		t.Errorf("after one finished: got %q, want %q", got, want)
	}
}

// With a single worker, another account's operation runs between two operations of an
// account that has many waiting.
func TestAccountsTakeTurns(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	idle := e.start(nil)
	var names []string
	for n := range 4 {
		names = append(names, idle.create(7, string(rune('a'+n))).Name)
	}
	other := idle.create(8, "other").Name
	order := make(chan string, 5)
	e.concurrency = 1
	e.start(func(_ context.Context, o *work.Operation) error {
		order <- o.Name
		return nil
	})
	var got []string
	for range 5 {
		got = append(got, <-order)
	}
	if want := []string{names[0], other, names[1], names[2], names[3]}; !slices.Equal(got, want) {
		t.Errorf("got order %q, want %q", got, want)
	}
}

// A long operation of one account leaves a worker for other accounts.
func TestAccountNeverOccupiesEveryWorker(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	e.concurrency = 2
	release := make(chan struct{})
	defer close(release)
	p := e.start(func(ctx context.Context, o *work.Operation) error {
		if o.AccountID == 7 {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	})
	for n := range 20 { // more than the workers
		p.create(7, string(rune('a'+n)))
	}
	if _, m := p.waitDone(8, p.create(8, "other").Name); m.State != operationspb.OperationMetadata_STATE_SUCCEEDED {
		t.Errorf("got %v, want succeeded", m)
	}
}
