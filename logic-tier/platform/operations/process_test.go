package operations_test

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/operations"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
	"techtalks.example/logic-tier/platform/work"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// patience bounds every wait for a condition.
const patience = 3 * time.Minute

// accounts is the neighbour that knows whose a session is: its token is
// "session-of-" and the account's number.
type accounts struct{ accountspb.AccountsClient }

func (accounts) VerifySession(_ context.Context, r *accountspb.VerifySessionRequest, _ ...grpc.CallOption) (*accountspb.VerifySessionResponse, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(r.Token, "session-of-"), 10, 64)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "no such session")
	}
	return &accountspb.VerifySessionResponse{Account: &accountspb.Account{Id: id}}, nil
}

// site is a database, and any number of processes on it.
type site struct {
	t        *testing.T
	database *postgrestest.Database
	// concurrency is that of the workers that are started next.
	concurrency int
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, database: postgrestest.New(t), concurrency: 8}
	worker, other := work.Worker{Kind: "sums", Queue: "sums"}, work.Worker{Kind: "products", Queue: "products"}
	ended := queue.Topology{Queues: []queue.Queue{{Name: "ended", Bindings: []queue.Binding{{Exchange: work.Exchange, Pattern: work.Ended}}}}}
	if err := s.engine().Declare(t.Context(), operations.Topology(), worker.Topology(), other.Topology(), ended); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *site) engine() *postgresqueue.Queue {
	return postgresqueue.New(s.database.Open("queue"), s.database.Options("queue"), slog.New(slog.DiscardHandler))
}

// process is the module in one process, with a worker when do is not nil.
type process struct {
	*site
	module  *operations.Module
	work    operationspb.OperationWorkClient
	streams operationspb.OperationStreamsClient
	// handles is called as somebody; see as.
	handles longrunningpb.OperationsServer
	stop    func()
}

// RegisterService picks out what is called without a channel, which would forget
// the caller.
func (p *process) RegisterService(_ *grpc.ServiceDesc, service any) {
	if handles, ok := service.(longrunningpb.OperationsServer); ok {
		p.handles = handles
	}
}

// start runs a process until stop, or the end of the test.
func (s *site) start(do func(context.Context, *work.Operation) error) *process {
	s.t.Helper()
	engine := s.engine()
	p := &process{site: s, module: operations.New(operations.Needs{
		DB: s.database.Open("operations"), Listen: s.database.Options("operations"), Publisher: engine,
		Accounts: accounts{}, Log: slog.New(slog.DiscardHandler),
	})}
	p.module.Register(p)
	channel := new(inprocgrpc.Channel)
	p.module.Register(channel)
	p.work, p.streams = operationspb.NewOperationWorkClient(channel), operationspb.NewOperationStreamsClient(channel)

	ctx, cancel := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	run := func(do func(context.Context) error) {
		running.Go(func() {
			if err := do(ctx); err != nil {
				s.t.Error(err)
			}
		})
	}
	run(engine.Run)
	run(p.module.Run)
	if do != nil {
		worker := sums(p.work, do)
		worker.Concurrency = s.concurrency
		consumer := worker.Consumer()
		run(func(ctx context.Context) error { return engine.Consume(ctx, consumer) })
	}
	p.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	s.t.Cleanup(p.stop)
	return p
}

// as is a call by an account; 0 is the operator.
func as(ctx context.Context, account int64) context.Context {
	if account == 0 {
		return caller.With(ctx, caller.Call{Program: "operator"})
	}
	return caller.With(ctx, caller.Call{Program: "web-tier", Person: &caller.Person{ID: account}})
}

// begin creates an operation.
func (p *process) begin(account int64, requestID string) *longrunningpb.Operation {
	p.t.Helper()
	answer, err := p.work.CreateOperation(p.t.Context(), &operationspb.CreateOperationRequest{
		AccountId: account, Kind: "sums", Title: "Sums " + requestID, RequestId: requestID,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return answer.Operation
}

// get returns an operation and its metadata as an account sees them.
func (p *process) get(account int64, name string) (*longrunningpb.Operation, *operationspb.OperationMetadata) {
	p.t.Helper()
	o, err := p.handles.GetOperation(as(p.t.Context(), account), &longrunningpb.GetOperationRequest{Name: name})
	if err != nil {
		p.t.Fatal(err)
	}
	return o, metadata(p.t, o)
}

func metadata(t *testing.T, o *longrunningpb.Operation) *operationspb.OperationMetadata {
	t.Helper()
	m := &operationspb.OperationMetadata{}
	if err := o.Metadata.UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// done waits until an operation has ended.
func (p *process) done(account int64, name string) (*longrunningpb.Operation, *operationspb.OperationMetadata) {
	p.t.Helper()
	ctx, over := context.WithTimeout(p.t.Context(), patience)
	defer over()
	for {
		o, err := p.handles.WaitOperation(as(ctx, account), &longrunningpb.WaitOperationRequest{Name: name})
		if err != nil {
			p.t.Fatal(err)
		}
		if o.Done {
			return o, metadata(p.t, o)
		}
	}
}

// until waits for a condition.
func (s *site) until(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("in %s it does not come: %s", patience, what)
		}
	}
}

// ended is how many messages say that an operation has ended.
func (s *site) ended() (n int) {
	s.t.Helper()
	if err := s.database.Superuser().QueryRow(`select count(*) from queue.message where type = 'operation.ended'`).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}
