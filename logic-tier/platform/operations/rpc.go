package operations

import (
	"context"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/pagetoken"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

const (
	// Page sizes of the list.
	defaultPage = 20
	maxPage     = 100
	// maxWait bounds a wait that asked for no end, or a later one: what lies
	// between forgets a connection on which nothing happens.
	maxWait = 50 * time.Second
)

// handleService is the handle as people hold it (AIP-151).
type handleService struct {
	longrunningpb.UnimplementedOperationsServer
	module *Module
}

// mine returns the id in a name when the operation is the caller's to see: a
// person's own, any for the operator and for modules. Somebody else's is not
// there.
func (m *Module) mine(ctx context.Context, name string) (string, error) {
	id, err := parseName(name)
	if err != nil {
		return "", err
	}
	whose, err := caller.Account(ctx)
	if err != nil {
		return "", err
	}
	if whose == caller.AllAccounts {
		return id, nil
	}
	return id, m.ownedBy(ctx, id, whose)
}

func (m *Module) ownedBy(ctx context.Context, id string, account int64) error {
	owner, err := m.store.account(ctx, m.needs.DB, id)
	if err == nil && owner != account {
		err = errNoOperation
	}
	return err
}

func (s handleService) GetOperation(ctx context.Context, r *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	id, err := s.module.mine(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	is, err := s.module.read(ctx, id)
	if err != nil {
		return nil, err
	}
	return is.message, nil
}

// listEdge is an operation's place in the list.
type listEdge struct {
	Number int64 `json:"n"`
}

func (s handleService) ListOperations(ctx context.Context, r *longrunningpb.ListOperationsRequest) (*longrunningpb.ListOperationsResponse, error) {
	whose, err := caller.Account(ctx)
	if err != nil {
		return nil, err
	}
	if r.Name != "" && r.Name != "operations" {
		return nil, apperror.InvalidField("NAME_INVALID", "name", `use "operations", or leave it empty`)
	}
	if r.PageSize < 0 {
		return nil, apperror.InvalidField("FIELDS_INVALID", "page_size", "use a number that is not negative")
	}
	f, err := parseFilter(r.Filter)
	if err != nil {
		return nil, err
	}
	question := pagetoken.QueryFingerprint("operations", f.kind, f.done)
	from, err := pagetoken.Decode[listEdge](r.PageToken, question)
	if err != nil {
		return nil, err
	}
	before := int64(1<<63 - 1)
	if from != nil {
		before = from.Key.Number
	}
	size := pagetoken.Size(r.PageSize, defaultPage, maxPage)
	read, err := s.module.store.list(ctx, whose, before, f, size+1)
	if err != nil {
		return nil, err
	}
	response := &longrunningpb.ListOperationsResponse{}
	if len(read) > size {
		read = read[:size]
		response.NextPageToken = pagetoken.Token[listEdge]{Key: listEdge{read[size-1].number}}.Encode(question)
	}
	for _, o := range read {
		is, err := s.module.snapshot(ctx, o)
		if err != nil {
			return nil, err
		}
		response.Operations = append(response.Operations, is.message)
	}
	return response, nil
}

func (s handleService) CancelOperation(ctx context.Context, r *longrunningpb.CancelOperationRequest) (*emptypb.Empty, error) {
	id, err := s.module.mine(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, s.module.cancel(ctx, id)
}

func (s handleService) DeleteOperation(ctx context.Context, r *longrunningpb.DeleteOperationRequest) (*emptypb.Empty, error) {
	id, err := s.module.mine(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	removed, err := s.module.store.remove(ctx, id)
	if err == nil && !removed {
		err = errUnderWay
	}
	return &emptypb.Empty{}, err
}

func (s handleService) WaitOperation(ctx context.Context, r *longrunningpb.WaitOperationRequest) (*longrunningpb.Operation, error) {
	id, err := s.module.mine(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	timeout := maxWait
	if r.Timeout != nil {
		if err := r.Timeout.CheckValid(); err != nil || r.Timeout.AsDuration() < 0 {
			return nil, apperror.InvalidField("FIELDS_INVALID", "timeout", "use a duration that is not negative, such as 25s")
		}
		timeout = min(timeout, r.Timeout.AsDuration())
	}
	is, err := s.module.wait(ctx, id, timeout, func(is *snapshot) bool { return is.over() })
	if err != nil {
		return nil, err
	}
	return is.message, nil
}

// workService is what modules do with operations.
type workService struct {
	operationspb.UnimplementedOperationWorkServer
	module *Module
}

func (s workService) CreateOperation(ctx context.Context, r *operationspb.CreateOperationRequest) (*operationspb.CreateOperationResponse, error) {
	o, err := s.module.create(ctx, request{
		account: r.AccountId, kind: r.Kind, title: r.Title, subject: r.Subject, id: r.RequestId, input: orEmpty(r.Input),
	})
	if err != nil {
		return nil, err
	}
	is, err := s.module.snapshot(ctx, o)
	if err != nil {
		return nil, err
	}
	return &operationspb.CreateOperationResponse{Operation: is.message}, nil
}

func (s workService) ClaimOperation(ctx context.Context, r *operationspb.ClaimOperationRequest) (*operationspb.ClaimOperationResponse, error) {
	id, err := parseName(r.Name)
	if err != nil {
		return nil, err
	}
	c, err := s.module.claim(ctx, id)
	if err != nil {
		return nil, err
	}
	return &operationspb.ClaimOperationResponse{
		Attempt: c.attempt, AccountId: c.account, Input: c.input, Checkpoint: c.checkpoint, DoneCount: c.done, TotalCount: c.total, Tries: c.tries,
	}, nil
}

func (s workService) ReportOperation(ctx context.Context, r *operationspb.ReportOperationRequest) (*operationspb.ReportOperationResponse, error) {
	id, err := parseName(r.Name)
	if err != nil {
		return nil, err
	}
	o, superseded, err := s.module.report(ctx, id, reported{
		attempt: r.Attempt, done: r.DoneCount, total: r.TotalCount, unit: r.Unit, step: r.Step, checkpoint: r.Checkpoint, excused: r.Excused,
	})
	if err != nil {
		return nil, err
	}
	return &operationspb.ReportOperationResponse{Superseded: superseded, CancelRequested: o.cancelRequested}, nil
}

func (s workService) FinishOperation(ctx context.Context, r *operationspb.FinishOperationRequest) (*operationspb.FinishOperationResponse, error) {
	id, err := parseName(r.Name)
	if err != nil {
		return nil, err
	}
	as, err := outcomeOf(r)
	if err != nil {
		return nil, err
	}
	o, superseded, err := s.module.finish(ctx, id, r.Attempt, as)
	if err != nil {
		return nil, err
	}
	is, err := s.module.snapshot(ctx, o)
	if err != nil {
		return nil, err
	}
	return &operationspb.FinishOperationResponse{Operation: is.message, Superseded: superseded}, nil
}

func (s workService) AwaitCancellation(ctx context.Context, r *operationspb.AwaitCancellationRequest) (*operationspb.AwaitCancellationResponse, error) {
	id, err := parseName(r.Name)
	if err != nil {
		return nil, err
	}
	answer := &operationspb.AwaitCancellationResponse{}
	_, err = s.module.wait(ctx, id, maxWait, func(is *snapshot) bool {
		answer.Superseded = is.over() || is.attempt != r.Attempt
		answer.CancelRequested = is.cancelRequested
		return answer.Superseded || answer.CancelRequested
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}
