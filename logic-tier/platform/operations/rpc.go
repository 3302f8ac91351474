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
	defaultPageSize = 20
	maxPageSize     = 100
	// maxWait bounds every wait, because middleboxes drop idle connections.
	maxWait = 50 * time.Second
)

// operationsService serves google.longrunning.Operations (AIP-151) to users and
// the operator.
type operationsService struct {
	longrunningpb.UnimplementedOperationsServer
	module *Module
}

// authorizedID returns the id in name if the caller is allowed to access the
// operation: users their own, the operator and modules any. Another account's
// operation is errNotFound.
func (m *Module) authorizedID(ctx context.Context, name string) (string, error) {
	id, err := parseName(name)
	if err != nil {
		return "", err
	}
	account, err := caller.Account(ctx)
	if err != nil {
		return "", err
	}
	if account == caller.AllAccounts {
		return id, nil
	}
	return id, m.checkOwner(ctx, id, account)
}

// checkOwner returns errNotFound unless the operation belongs to the account.
func (m *Module) checkOwner(ctx context.Context, id string, account int64) error {
	owner, err := m.store.account(ctx, m.deps.DB, id)
	if err == nil && owner != account {
		err = errNotFound
	}
	return err
}

func (s operationsService) GetOperation(ctx context.Context, r *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	id, err := s.module.authorizedID(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	current, err := s.module.read(ctx, id)
	if err != nil {
		return nil, err
	}
	return current.message, nil
}

// listCursor is the list position encoded in a page token.
type listCursor struct {
	Number int64 `json:"n"`
}

func (s operationsService) ListOperations(ctx context.Context, r *longrunningpb.ListOperationsRequest) (*longrunningpb.ListOperationsResponse, error) {
	account, err := caller.Account(ctx)
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
	fingerprint := pagetoken.QueryFingerprint("operations", f.kind, f.done)
	cursor, err := pagetoken.Decode[listCursor](r.PageToken, fingerprint)
	if err != nil {
		return nil, err
	}
	before := int64(1<<63 - 1)
	if cursor != nil {
		before = cursor.Key.Number
	}
	size := pagetoken.Size(r.PageSize, defaultPageSize, maxPageSize)
	page, err := s.module.store.list(ctx, account, before, f, size+1)
	if err != nil {
		return nil, err
	}
	response := &longrunningpb.ListOperationsResponse{}
	if len(page) > size {
		page = page[:size]
		response.NextPageToken = pagetoken.Token[listCursor]{Key: listCursor{page[size-1].number}}.Encode(fingerprint)
	}
	for _, o := range page {
		current, err := s.module.snapshot(ctx, o)
		if err != nil {
			return nil, err
		}
		response.Operations = append(response.Operations, current.message)
	}
	return response, nil
}

func (s operationsService) CancelOperation(ctx context.Context, r *longrunningpb.CancelOperationRequest) (*emptypb.Empty, error) {
	id, err := s.module.authorizedID(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, s.module.cancel(ctx, id)
}

func (s operationsService) DeleteOperation(ctx context.Context, r *longrunningpb.DeleteOperationRequest) (*emptypb.Empty, error) {
	id, err := s.module.authorizedID(ctx, r.Name)
	if err != nil {
		return nil, err
	}
	deleted, err := s.module.store.deleteFinished(ctx, id)
	if err == nil && !deleted {
		err = errNotDone
	}
	return &emptypb.Empty{}, err
}

func (s operationsService) WaitOperation(ctx context.Context, r *longrunningpb.WaitOperationRequest) (*longrunningpb.Operation, error) {
	id, err := s.module.authorizedID(ctx, r.Name)
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
	current, err := s.module.wait(ctx, id, timeout, func(current *snapshot) bool { return current.finished() })
	if err != nil {
		return nil, err
	}
	return current.message, nil
}

// workService serves OperationWork to the modules that perform operations.
type workService struct {
	operationspb.UnimplementedOperationWorkServer
	module *Module
}

func (s workService) CreateOperation(ctx context.Context, r *operationspb.CreateOperationRequest) (*operationspb.CreateOperationResponse, error) {
	o, err := s.module.create(ctx, request{
		account: r.AccountId, kind: r.Kind, title: r.Title, subject: r.Subject, requestID: r.RequestId, input: orEmpty(r.Input),
	})
	if err != nil {
		return nil, err
	}
	current, err := s.module.snapshot(ctx, o)
	if err != nil {
		return nil, err
	}
	return &operationspb.CreateOperationResponse{Operation: current.message}, nil
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
	o, superseded, err := s.module.report(ctx, id, progress{
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
	result, err := parseOutcome(r)
	if err != nil {
		return nil, err
	}
	o, superseded, err := s.module.finish(ctx, id, r.Attempt, result)
	if err != nil {
		return nil, err
	}
	current, err := s.module.snapshot(ctx, o)
	if err != nil {
		return nil, err
	}
	return &operationspb.FinishOperationResponse{Operation: current.message, Superseded: superseded}, nil
}

func (s workService) AwaitCancellation(ctx context.Context, r *operationspb.AwaitCancellationRequest) (*operationspb.AwaitCancellationResponse, error) {
	id, err := parseName(r.Name)
	if err != nil {
		return nil, err
	}
	response := &operationspb.AwaitCancellationResponse{}
	_, err = s.module.wait(ctx, id, maxWait, func(current *snapshot) bool {
		response.Superseded = current.finished() || current.attempt != r.Attempt
		response.CancelRequested = current.cancelRequested
		return response.Superseded || response.CancelRequested
	})
	if err != nil {
		return nil, err
	}
	return response, nil
}
