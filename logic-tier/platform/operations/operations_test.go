package operations_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/operations"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

func (p *process) tryCancel(account int64, name string) error {
	_, err := p.service.CancelOperation(withCaller(p.t.Context(), account), &longrunningpb.CancelOperationRequest{Name: name})
	return err
}

func TestOperationOfAnotherAccountIsNotFound(t *testing.T) {
	t.Parallel()
	p := newEnvironment(t).start(nil)
	name := p.create(7, "one").Name
	for _, name := range []string{name, "operations/" + strings.Repeat("a", 26), "operations/../x", "x", ""} {
		ctx := withCaller(t.Context(), 8)
		_, err := p.service.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: name})
		expectReason(t, err, "OPERATION_NOT_FOUND")
		_, err = p.service.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: name})
		expectReason(t, err, "OPERATION_NOT_FOUND")
		_, err = p.service.DeleteOperation(ctx, &longrunningpb.DeleteOperationRequest{Name: name})
		expectReason(t, err, "OPERATION_NOT_FOUND")
		expectReason(t, p.tryCancel(8, name), "OPERATION_NOT_FOUND")
	}
	p.get(0, name) // the operator can read every operation
	expectReason(t, p.tryCancel(0, "operations/"+strings.Repeat("a", 26)), "OPERATION_NOT_FOUND")
	_, err := p.service.GetOperation(caller.With(t.Context(), caller.Call{Program: "web-tier"}), &longrunningpb.GetOperationRequest{Name: name})
	expectReason(t, err, "SESSION_REQUIRED")
}

func TestListReturnsTheAccountsOperations(t *testing.T) {
	t.Parallel()
	p := newEnvironment(t).start(nil)
	var want []string
	for n := range 5 {
		want = append([]string{p.create(7, fmt.Sprint(n)).Name}, want...)
	}
	p.create(8, "other account")
	p.cancel(7, want[1])
	list := func(filter, token string, size int32) (names []string, next string) {
		t.Helper()
		response, err := p.service.ListOperations(withCaller(t.Context(), 7), &longrunningpb.ListOperationsRequest{Filter: filter, PageToken: token, PageSize: size})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range response.Operations {
			names = append(names, o.Name)
		}
		return names, response.NextPageToken
	}
	first, next := list("", "", 3)
	second, end := list("", next, 3)
	if got := append(first, second...); !slices.Equal(got, want) || end != "" {
		t.Errorf("got %v then %q, want %v", got, end, want)
	}
	if got, _ := list("done = true", "", 0); !slices.Equal(got, want[1:2]) {
		t.Errorf("done: got %v, want %v", got, want[1:2])
	}
	if got, _ := list(`done=false AND kind = "sums"`, "", 0); len(got) != 4 {
		t.Errorf("not done: got %v, want 4 operations", got)
	}
	for _, filter := range []string{"state = 1", "done = maybe", "done=true OR kind=x", "kind=a AND kind=b"} {
		_, err := p.service.ListOperations(withCaller(t.Context(), 7), &longrunningpb.ListOperationsRequest{Filter: filter})
		expectReason(t, err, "FILTER_INVALID")
	}
	_, err := p.service.ListOperations(withCaller(t.Context(), 7), &longrunningpb.ListOperationsRequest{PageToken: "made-up"})
	expectReason(t, err, "PAGE_TOKEN_INVALID")
}

func TestDeleteRejectsUnfinishedOperation(t *testing.T) {
	t.Parallel()
	p := newEnvironment(t).start(nil)
	name := p.create(7, "one").Name
	remove := func() error {
		_, err := p.service.DeleteOperation(withCaller(t.Context(), 7), &longrunningpb.DeleteOperationRequest{Name: name})
		return err
	}
	expectReason(t, remove(), "OPERATION_NOT_DONE")
	p.cancel(7, name)
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	expectReason(t, remove(), "OPERATION_NOT_FOUND")
}

func TestSweepDeletesExpiredOperations(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	p := e.start(nil)
	expired, recent, running := p.create(7, "expired").Name, p.create(7, "recent").Name, p.create(7, "running").Name
	p.cancel(7, expired)
	p.cancel(7, recent)
	if _, err := e.database.Superuser().Exec(`update operations.operation set ended_at = ended_at - interval '7 days 1 second' where 'operations/' || id = $1`, expired); err != nil {
		t.Fatal(err)
	}
	if err := operations.Sweep(t.Context(), p.module); err != nil {
		t.Fatal(err)
	}
	_, err := p.service.GetOperation(withCaller(t.Context(), 7), &longrunningpb.GetOperationRequest{Name: expired})
	expectReason(t, err, "OPERATION_NOT_FOUND")
	p.get(7, recent)
	p.get(7, running)
}

func TestWaitReturnsAfterItsTimeout(t *testing.T) {
	t.Parallel()
	p := newEnvironment(t).start(nil)
	name := p.create(7, "one").Name
	o, err := p.service.WaitOperation(withCaller(t.Context(), 7), &longrunningpb.WaitOperationRequest{Name: name, Timeout: durationpb.New(time.Millisecond)})
	if err != nil || o.Done {
		t.Errorf("got %v, %v; want an unfinished operation", o, err)
	}
	_, err = p.service.WaitOperation(withCaller(t.Context(), 7), &longrunningpb.WaitOperationRequest{Name: name, Timeout: durationpb.New(-time.Second)})
	expectReason(t, err, "FIELDS_INVALID")
}

// 200 clients wait on two replicas. They cost no queries until the operation changes,
// and one change releases all of them.
func TestOneChangeReleasesEveryWaiter(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	replicas := []*process{e.start(nil), e.start(nil)}
	name := replicas[0].create(7, "one").Name
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	var waiting sync.WaitGroup
	for n := range 200 {
		waiting.Go(func() {
			o, err := replicas[n%2].service.WaitOperation(withCaller(ctx, 7), &longrunningpb.WaitOperationRequest{Name: name})
			if err != nil || !o.Done {
				t.Errorf("waiter %d: got %v, %v; want a finished operation", n, o, err)
			}
		})
	}
	superuser := e.database.Superuser()
	idle := func() bool {
		var busy int
		if err := superuser.QueryRow(`select count(*) from pg_stat_activity where usename = 'operations' and state = 'active'`).Scan(&busy); err != nil {
			t.Fatal(err)
		}
		return busy == 0
	}
	e.waitFor("all clients wait", func() bool {
		return operations.Subscribers(replicas[0].module)+operations.Subscribers(replicas[1].module) == 200
	})
	e.waitFor("the database is idle", idle)
	replicas[0].cancel(7, name)
	waiting.Wait()
}

// A stream delivers each operation's changes in order, and only those of the account
// that subscribed.
func TestStreamDeliversChangesOfOwnOperations(t *testing.T) {
	t.Parallel()
	p := newEnvironment(t).start(nil)
	owned, foreign := p.create(7, "owned").Name, p.create(8, "foreign").Name
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	stream, err := p.streams.StreamOperations(ctx)
	if err != nil {
		t.Fatal(err)
	}
	subscribe := func(number uint64, token, name string) *operationspb.StreamOperationsResponse {
		t.Helper()
		if err := stream.Send(&operationspb.StreamOperationsRequest{Change: &operationspb.StreamOperationsRequest_Subscribe_{
			Subscribe: &operationspb.StreamOperationsRequest_Subscribe{Subscription: number, SessionToken: token, Operation: name},
		}}); err != nil {
			t.Fatal(err)
		}
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	if got := subscribe(1, "session-of-7", owned); got.GetSubscribed().GetSubscription() != 1 {
		t.Fatalf("got %v", got)
	}
	if got := subscribe(2, "session-of-7", foreign); got.GetEnded().GetReason() != "OPERATION_NOT_FOUND" {
		t.Errorf("another account's operation: got %v, want OPERATION_NOT_FOUND", got)
	}
	if got := subscribe(3, "invalid", owned); got.GetEnded().GetReason() != "SESSION_INVALID" {
		t.Errorf("invalid session: got %v, want SESSION_INVALID", got)
	}
	if got := subscribe(4, "session-of-7", owned); got.GetSubscribed().GetSubscription() != 4 {
		t.Fatalf("got %v", got)
	}
	p.cancel(7, owned)
	for last := ""; ; {
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		changed := response.GetChanged()
		if changed == nil {
			// A gap, after the listener connected: earlier changes are not delivered again.
			if o, _ := p.get(7, owned); o.Done {
				break
			}
			continue
		}
		m := metadata(t, changed.Operation)
		if got := slices.Sorted(slices.Values(changed.Subscriptions)); !slices.Equal(got, []uint64{1, 4}) {
			t.Errorf("got subscriptions %v, want 1 and 4", got)
		}
		if m.Cursor <= last {
			t.Errorf("got cursor %s after %s, want ascending cursors", m.Cursor, last)
		}
		last = m.Cursor
		if changed.Operation.Done {
			break
		}
	}
}
