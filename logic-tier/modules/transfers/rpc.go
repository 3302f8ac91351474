package transfers

import (
	"context"
	"strings"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/pagetoken"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

type service struct {
	transferspb.UnimplementedTransfersServer
	module *Module
}

// Page sizes of the contract.
const (
	rejectionsPage    = 100
	maxRejectionsPage = 1000
)

func (s service) ImportCatalogue(ctx context.Context, r *transferspb.ImportCatalogueRequest) (*longrunningpb.Operation, error) {
	if _, err := caller.Account(ctx); err != nil {
		return nil, err
	}
	// Nobody is the operator: the channels become nobody's.
	person, _ := caller.PersonFrom(ctx)
	return s.module.beginImport(ctx, person, r.Upload, strings.ToLower(r.RequestId))
}

// rejectionEdge is a rejection's place in the list.
type rejectionEdge struct {
	Number int64 `json:"n"`
}

func (s service) ListRejections(ctx context.Context, r *transferspb.ListRejectionsRequest) (*transferspb.ListRejectionsResponse, error) {
	account, err := caller.Account(ctx)
	if err != nil {
		return nil, err
	}
	question := pagetoken.QueryFingerprint("rejections", r.Operation)
	from, err := pagetoken.Decode[rejectionEdge](r.PageToken, question)
	if err != nil {
		return nil, err
	}
	if !isStored(r.Operation) {
		return nil, errNoOperation
	}
	owner, err := s.module.store.importer(ctx, r.Operation)
	if err != nil {
		return nil, err
	}
	if account != caller.AllAccounts && account != owner {
		return nil, errNoOperation
	}
	var after int64
	if from != nil {
		after = from.Key.Number
	}
	size := pagetoken.Size(r.PageSize, rejectionsPage, maxRejectionsPage)
	read, err := s.module.store.rejections(ctx, r.Operation, after, size+1)
	if err != nil {
		return nil, err
	}
	response := &transferspb.ListRejectionsResponse{}
	read, response.NextPageToken, _ = pagetoken.Cut(read, size, from, question, func(r rejection) rejectionEdge { return rejectionEdge{r.Number} })
	for _, one := range read {
		response.Rejections = append(response.Rejections, &transferspb.ListRejectionsResponse_Rejection{Path: one.Path, Reason: one.Reason})
	}
	return response, nil
}

func (s service) ExportArchive(ctx context.Context, r *transferspb.ExportArchiveRequest) (*longrunningpb.Operation, error) {
	person, signedIn := caller.PersonFrom(ctx)
	if !signedIn {
		return nil, errSignIn
	}
	return s.module.beginExport(ctx, person, r.Parent, strings.ToLower(r.RequestId))
}

var (
	errNoOperation = apperror.New(apperror.NotFound, "OPERATION_NOT_FOUND", "there is no such import")
	errSignIn      = apperror.New(apperror.Unauthenticated, "SESSION_REQUIRED", "sign in first")
)
