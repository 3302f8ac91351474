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

const (
	defaultRejectionsPageSize = 100
	maxRejectionsPageSize     = 1000
)

func (s service) ImportCatalogue(ctx context.Context, r *transferspb.ImportCatalogueRequest) (*longrunningpb.Operation, error) {
	if _, err := caller.Account(ctx); err != nil {
		return nil, err
	}
	// A call without a person is the operator's; its channels have no owner.
	person, _ := caller.PersonFrom(ctx)
	return s.module.startImport(ctx, person, r.Upload, strings.ToLower(r.RequestId))
}

// rejectionCursor is the list position encoded in a page token.
type rejectionCursor struct {
	Number int64 `json:"n"`
}

func (s service) ListRejections(ctx context.Context, r *transferspb.ListRejectionsRequest) (*transferspb.ListRejectionsResponse, error) {
	account, err := caller.Account(ctx)
	if err != nil {
		return nil, err
	}
	fingerprint := pagetoken.QueryFingerprint("rejections", r.Operation)
	cursor, err := pagetoken.Decode[rejectionCursor](r.PageToken, fingerprint)
	if err != nil {
		return nil, err
	}
	if !isStorable(r.Operation) {
		return nil, errImportNotFound
	}
	owner, err := s.module.store.importOwner(ctx, r.Operation)
	if err != nil {
		return nil, err
	}
	if account != caller.AllAccounts && account != owner {
		return nil, errImportNotFound
	}
	var after int64
	if cursor != nil {
		after = cursor.Key.Number
	}
	size := pagetoken.Size(r.PageSize, defaultRejectionsPageSize, maxRejectionsPageSize)
	page, err := s.module.store.rejections(ctx, r.Operation, after, size+1)
	if err != nil {
		return nil, err
	}
	response := &transferspb.ListRejectionsResponse{}
	page, response.NextPageToken, _ = pagetoken.Cut(page, size, cursor, fingerprint, func(r rejection) rejectionCursor { return rejectionCursor{r.Number} })
	for _, r := range page {
		response.Rejections = append(response.Rejections, &transferspb.ListRejectionsResponse_Rejection{Path: r.Path, Reason: r.Reason})
	}
	return response, nil
}

func (s service) ExportArchive(ctx context.Context, r *transferspb.ExportArchiveRequest) (*longrunningpb.Operation, error) {
	person, ok := caller.PersonFrom(ctx)
	if !ok {
		return nil, errSignInRequired
	}
	return s.module.startExport(ctx, person, r.Parent, strings.ToLower(r.RequestId))
}

var (
	errImportNotFound = apperror.New(apperror.NotFound, "OPERATION_NOT_FOUND", "import not found")
	errSignInRequired = apperror.New(apperror.Unauthenticated, "SESSION_REQUIRED", "sign in first")
)
