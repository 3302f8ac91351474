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

// queued returns the operations that were published, in order.
func (s *site) queued() (kinds []string) {
	s.t.Helper()
	if err := s.database.Superuser().QueryRow(`select coalesce(array_agg(routing_key order by id), '{}') from queue.message where type = 'operation.started'`).Scan(pq.Array(&kinds)); err != nil {
		s.t.Fatal(err)
	}
	return kinds
}

func (p *process) tryBegin(account int64, kind, requestID string) (*operationspb.CreateOperationResponse, error) {
	return p.work.CreateOperation(p.t.Context(), &operationspb.CreateOperationRequest{AccountId: account, Kind: kind, Title: kind, RequestId: requestID})
}

func TestAccountsWaitingOperationsAreBounded(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil)
	var names []string
	for n := range 21 {
		names = append(names, p.begin(7, string(rune('a'+n))).Name)
	}
	_, err := p.tryBegin(7, "sums", "one more")
	refused(t, err, "TOO_MANY_OPERATIONS")
	var f *apperror.Failure
	if errors.As(err, &f) && f.RetryAfter <= 0 {
		t.Error("it does not say when to try again")
	}
	p.begin(8, "another account has room")
	if got := p.queued(); len(got) != 2 {
		t.Errorf("%d have their turn, want 1 and the other account's", len(got))
	}
	p.cancel(7, names[0])
	if got := p.queued(); len(got) != 3 {
		t.Errorf("after one ended, %d have had their turn", len(got))
	}
	p.begin(7, "there is room again")
}

// An account has one turn for each kind of operation.
func TestOperationsOfAnotherKindHaveTheirOwnTurn(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil)
	first := p.begin(7, "first").Name
	for _, c := range [][2]string{{"sums", "second"}, {"products", "third"}, {"products", "fourth"}} {
		if _, err := p.tryBegin(7, c[0], c[1]); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := p.queued(), []string{"operation.started.sums", "operation.started.products"}; !slices.Equal(got, want) {
		t.Errorf("their turn have %q, want %q", got, want)
	}
	p.cancel(7, first)
	if got, want := p.queued(), []string{"operation.started.sums", "operation.started.products", "operation.started.sums"}; !slices.Equal(got, want) {
		t.Errorf("after one ended, they are %q, want %q", got, want)
	}
}

// An account that waits with many operations lets another one pass between two of
// its own, though one worker does them all.
func TestAccountsTakeTurns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	quiet := s.start(nil)
	var names []string
	for n := range 4 {
		names = append(names, quiet.begin(7, string(rune('a'+n))).Name)
	}
	other := quiet.begin(8, "other").Name
	order := make(chan string, 5)
	s.concurrency = 1
	s.start(func(_ context.Context, o *work.Operation) error {
		order <- o.Name
		return nil
	})
	var got []string
	for range 5 {
		got = append(got, <-order)
	}
	if want := []string{names[0], other, names[1], names[2], names[3]}; !slices.Equal(got, want) {
		t.Errorf("the order is %q, want %q", got, want)
	}
}

// A long operation of one account leaves a worker for the others.
func TestAccountNeverHoldsEveryWorker(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.concurrency = 2
	release := make(chan struct{})
	defer close(release)
	p := s.start(func(ctx context.Context, o *work.Operation) error {
		if o.AccountID == 7 {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return nil
	})
	for n := range 20 { // more than there are workers
		p.begin(7, string(rune('a'+n)))
	}
	if _, m := p.done(8, p.begin(8, "other").Name); m.State != operationspb.OperationMetadata_STATE_SUCCEEDED {
		t.Errorf("it ends as %v", m)
	}
}
