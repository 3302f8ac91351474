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
	_, err := p.handles.CancelOperation(as(p.t.Context(), account), &longrunningpb.CancelOperationRequest{Name: name})
	return err
}

// Somebody else's operation is not there, whatever is asked of it.
func TestSomebodyElsesOperationIsNotThere(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil)
	name := p.begin(7, "one").Name
	for _, name := range []string{name, "operations/" + strings.Repeat("a", 26), "operations/../x", "x", ""} {
		ctx := as(t.Context(), 8)
		_, err := p.handles.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: name})
		refused(t, err, "OPERATION_NOT_FOUND")
		_, err = p.handles.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: name})
		refused(t, err, "OPERATION_NOT_FOUND")
		_, err = p.handles.DeleteOperation(ctx, &longrunningpb.DeleteOperationRequest{Name: name})
		refused(t, err, "OPERATION_NOT_FOUND")
		refused(t, p.tryCancel(8, name), "OPERATION_NOT_FOUND")
	}
	p.get(0, name) // the operator sees all
	refused(t, p.tryCancel(0, "operations/"+strings.Repeat("a", 26)), "OPERATION_NOT_FOUND")
	_, err := p.handles.GetOperation(caller.With(t.Context(), caller.Call{Program: "web-tier"}), &longrunningpb.GetOperationRequest{Name: name})
	refused(t, err, "SESSION_REQUIRED")
}

func TestAListOfOnesOwn(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil)
	var want []string
	for n := range 5 {
		want = append([]string{p.begin(7, fmt.Sprint(n)).Name}, want...)
	}
	p.begin(8, "another's")
	p.cancel(7, want[1])
	list := func(filter, token string, size int32) (names []string, next string) {
		t.Helper()
		answer, err := p.handles.ListOperations(as(t.Context(), 7), &longrunningpb.ListOperationsRequest{Filter: filter, PageToken: token, PageSize: size})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range answer.Operations {
			names = append(names, o.Name)
		}
		return names, answer.NextPageToken
	}
	first, next := list("", "", 3)
	second, end := list("", next, 3)
	if got := append(first, second...); !slices.Equal(got, want) || end != "" {
		t.Errorf("got %v then %q, want %v", got, end, want)
	}
	if got, _ := list("done = true", "", 0); !slices.Equal(got, want[1:2]) {
		t.Errorf("done are %v", got)
	}
	if got, _ := list(`done=false AND kind = "sums"`, "", 0); len(got) != 4 {
		t.Errorf("under way are %v", got)
	}
	for _, filter := range []string{"state = 1", "done = maybe", "done=true OR kind=x", "kind=a AND kind=b"} {
		_, err := p.handles.ListOperations(as(t.Context(), 7), &longrunningpb.ListOperationsRequest{Filter: filter})
		refused(t, err, "FILTER_INVALID")
	}
	_, err := p.handles.ListOperations(as(t.Context(), 7), &longrunningpb.ListOperationsRequest{PageToken: "made-up"})
	refused(t, err, "PAGE_TOKEN_INVALID")
}

func TestOnlyWhatHasEndedIsDeleted(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil)
	name := p.begin(7, "one").Name
	remove := func() error {
		_, err := p.handles.DeleteOperation(as(t.Context(), 7), &longrunningpb.DeleteOperationRequest{Name: name})
		return err
	}
	refused(t, remove(), "OPERATION_NOT_DONE")
	p.cancel(7, name)
	if err := remove(); err != nil {
		t.Fatal(err)
	}
	refused(t, remove(), "OPERATION_NOT_FOUND")
}

func TestWhatEndedAWeekAgoIsSwept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	p := s.start(nil)
	old, recent, running := p.begin(7, "old").Name, p.begin(7, "recent").Name, p.begin(7, "running").Name
	p.cancel(7, old)
	p.cancel(7, recent)
	if _, err := s.database.Superuser().Exec(`update operations.operation set ended_at = ended_at - interval '7 days 1 second' where 'operations/' || id = $1`, old); err != nil {
		t.Fatal(err)
	}
	if err := operations.Sweep(t.Context(), p.module); err != nil {
		t.Fatal(err)
	}
	_, err := p.handles.GetOperation(as(t.Context(), 7), &longrunningpb.GetOperationRequest{Name: old})
	refused(t, err, "OPERATION_NOT_FOUND")
	p.get(7, recent)
	p.get(7, running)
}

func TestAWaitEndsWithItsTimeout(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil)
	name := p.begin(7, "one").Name
	o, err := p.handles.WaitOperation(as(t.Context(), 7), &longrunningpb.WaitOperationRequest{Name: name, Timeout: durationpb.New(time.Millisecond)})
	if err != nil || o.Done {
		t.Errorf("got %v, %v", o, err)
	}
	_, err = p.handles.WaitOperation(as(t.Context(), 7), &longrunningpb.WaitOperationRequest{Name: name, Timeout: durationpb.New(-time.Second)})
	refused(t, err, "FIELDS_INVALID")
}

// Two hundred wait, on two processes. None costs the database anything while
// nothing changes; one change releases all.
func TestOneChangeReleasesEveryWaiter(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	replicas := []*process{s.start(nil), s.start(nil)}
	name := replicas[0].begin(7, "one").Name
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	var waiting sync.WaitGroup
	for n := range 200 {
		waiting.Go(func() {
			o, err := replicas[n%2].handles.WaitOperation(as(ctx, 7), &longrunningpb.WaitOperationRequest{Name: name})
			if err != nil || !o.Done {
				t.Errorf("waiter %d gets %v, %v", n, o, err)
			}
		})
	}
	inside := s.database.Superuser()
	quiet := func() bool {
		var busy int
		if err := inside.QueryRow(`select count(*) from pg_stat_activity where usename = 'operations' and state = 'active'`).Scan(&busy); err != nil {
			t.Fatal(err)
		}
		return busy == 0
	}
	s.until("all wait", func() bool {
		return operations.Followers(replicas[0].module)+operations.Followers(replicas[1].module) == 200
	})
	s.until("the database has nothing to do for them", quiet)
	replicas[0].cancel(7, name)
	waiting.Wait()
}

// A stream says of each operation, in order, what it has become.
func TestAStreamFollowsOnesOwn(t *testing.T) {
	t.Parallel()
	p := newSite(t).start(nil)
	mine, others := p.begin(7, "mine").Name, p.begin(8, "others").Name
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
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
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if got := subscribe(1, "session-of-7", mine); got.GetSubscribed().GetSubscription() != 1 {
		t.Fatalf("got %v", got)
	}
	if got := subscribe(2, "session-of-7", others); got.GetEnded().GetReason() != "OPERATION_NOT_FOUND" {
		t.Errorf("somebody else's: %v", got)
	}
	if got := subscribe(3, "stolen", mine); got.GetEnded().GetReason() != "SESSION_INVALID" {
		t.Errorf("without a session: %v", got)
	}
	if got := subscribe(4, "session-of-7", mine); got.GetSubscribed().GetSubscription() != 4 {
		t.Fatalf("got %v", got)
	}
	p.cancel(7, mine)
	for last := ""; ; {
		answer, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		changed := answer.GetChanged()
		if changed == nil {
			// The gap that a new listener tells of: what came before is not told again.
			if o, _ := p.get(7, mine); o.Done {
				break
			}
			continue
		}
		m := metadata(t, changed.Operation)
		if got := slices.Sorted(slices.Values(changed.Subscriptions)); !slices.Equal(got, []uint64{1, 4}) {
			t.Errorf("it is for %v", got)
		}
		if m.Cursor <= last {
			t.Errorf("after %s comes %s", last, m.Cursor)
		}
		last = m.Cursor
		if changed.Operation.Done {
			break
		}
	}
}
