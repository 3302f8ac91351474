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

// waitTimeout bounds every wait for a condition.
const waitTimeout = 3 * time.Minute

// fakeAccounts resolves sessions. The token of an account's session is "session-of-"
// and the account's number.
type fakeAccounts struct{ accountspb.AccountsClient }

func (fakeAccounts) VerifySession(_ context.Context, r *accountspb.VerifySessionRequest, _ ...grpc.CallOption) (*accountspb.VerifySessionResponse, error) {
	id, err := strconv.ParseInt(strings.TrimPrefix(r.Token, "session-of-"), 10, 64)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "no such session")
	}
	return &accountspb.VerifySessionResponse{Account: &accountspb.Account{Id: id}}, nil
}

// environment is a database shared by any number of processes.
type environment struct {
	t        *testing.T
	database *postgrestest.Database
	// concurrency is the concurrency of workers started from now on.
	concurrency int
}

func newEnvironment(t *testing.T) *environment {
	t.Helper()
	e := &environment{t: t, database: postgrestest.New(t), concurrency: 8}
	worker, other := work.Worker{Kind: "sums", Queue: "sums"}, work.Worker{Kind: "products", Queue: "products"}
	ended := queue.Topology{Queues: []queue.Queue{{Name: "ended", Bindings: []queue.Binding{{Exchange: work.Exchange, Pattern: work.Ended}}}}}
	if err := e.engine().Declare(t.Context(), operations.Topology(), worker.Topology(), other.Topology(), ended); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *environment) engine() *postgresqueue.Queue {
	return postgresqueue.New(e.database.Open("queue"), e.database.Options("queue"), slog.New(slog.DiscardHandler))
}

// process is one replica of the module, with a worker if it was started with a do.
type process struct {
	*environment
	module  *operations.Module
	work    operationspb.OperationWorkClient
	streams operationspb.OperationStreamsClient
	// service is called directly, in the context of a caller; see withCaller.
	service longrunningpb.OperationsServer
	stop    func()
}

// RegisterService keeps the Operations service for direct calls, because the
// in-process channel does not pass the caller on.
func (p *process) RegisterService(_ *grpc.ServiceDesc, registered any) {
	if service, ok := registered.(longrunningpb.OperationsServer); ok {
		p.service = service
	}
}

// start starts a process that runs until stop is called or the test finishes.
func (e *environment) start(do func(context.Context, *work.Operation) error) *process {
	e.t.Helper()
	engine := e.engine()
	p := &process{environment: e, module: operations.New(operations.Deps{
		DB: e.database.Open("operations"), Listen: e.database.Options("operations"), Publisher: engine,
		Accounts: fakeAccounts{}, Log: slog.New(slog.DiscardHandler),
	})}
	p.module.Register(p)
	channel := new(inprocgrpc.Channel)
	p.module.Register(channel)
	p.work, p.streams = operationspb.NewOperationWorkClient(channel), operationspb.NewOperationStreamsClient(channel)

	ctx, cancel := context.WithCancel(e.t.Context())
	var running sync.WaitGroup
	run := func(do func(context.Context) error) {
		running.Go(func() {
			if err := do(ctx); err != nil {
				e.t.Error(err)
			}
		})
	}
	run(engine.Run)
	run(p.module.Run)
	if do != nil {
		worker := sumsWorker(p.work, do)
		worker.Concurrency = e.concurrency
		consumer := worker.Consumer()
		run(func(ctx context.Context) error { return engine.Consume(ctx, consumer) })
	}
	p.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	e.t.Cleanup(p.stop)
	return p
}

// withCaller returns the context of a call by an account, or by the operator if
// account is 0.
func withCaller(ctx context.Context, account int64) context.Context {
	if account == 0 {
		return caller.With(ctx, caller.Call{Program: "operator"})
	}
	return caller.With(ctx, caller.Call{Program: "web-tier", Person: &caller.Person{ID: account}})
}

// create creates an operation of the kind "sums".
func (p *process) create(account int64, requestID string) *longrunningpb.Operation {
	p.t.Helper()
	response, err := p.work.CreateOperation(p.t.Context(), &operationspb.CreateOperationRequest{
		AccountId: account, Kind: "sums", Title: "Sums " + requestID, RequestId: requestID,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return response.Operation
}

// get returns an operation and its metadata, read by an account.
func (p *process) get(account int64, name string) (*longrunningpb.Operation, *operationspb.OperationMetadata) {
	p.t.Helper()
	o, err := p.service.GetOperation(withCaller(p.t.Context(), account), &longrunningpb.GetOperationRequest{Name: name})
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

// waitDone waits until an operation is done.
func (p *process) waitDone(account int64, name string) (*longrunningpb.Operation, *operationspb.OperationMetadata) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), waitTimeout)
	defer cancel()
	for {
		o, err := p.service.WaitOperation(withCaller(ctx, account), &longrunningpb.WaitOperationRequest{Name: name})
		if err != nil {
			p.t.Fatal(err)
		}
		if o.Done {
			return o, metadata(p.t, o)
		}
	}
}

// waitFor waits for a condition.
func (e *environment) waitFor(description string, cond func() bool) {
	e.t.Helper()
	for deadline := time.Now().Add(waitTimeout); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			e.t.Fatalf("timed out after %s waiting until %s", waitTimeout, description)
		}
	}
}

// endedMessages returns the number of published operation.ended messages.
func (e *environment) endedMessages() (n int) {
	e.t.Helper()
	if err := e.database.Superuser().QueryRow(`select count(*) from queue.message where type = 'operation.ended'`).Scan(&n); err != nil {
		e.t.Fatal(err)
	}
	return n
}
