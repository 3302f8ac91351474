// Package operations serves the pages of long-running operations: their state,
// progress and result.
package operations

import (
	"context"
	"net/http"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/live"
)

// operationName returns the resource name of the operation in the request's URL.
func operationName(v *ui.PageContext) string { return "operations/" + v.Request.PathValue("operation") }

// Show renders an operation. A JSON client gets the operation itself, for short
// polling.
func Show(v *ui.PageContext) error {
	v.Writer.Header().Add("Vary", "Accept")
	if v.PrefersJSON() {
		op, err := v.Site.Tier.Operations.GetOperation(v.Context(), &longrunningpb.GetOperationRequest{Name: operationName(v)})
		if err != nil {
			live.AnswerProblem(v.Writer, v.Request, err)
			return nil
		}
		live.AnswerOperation(v.Writer, v.Request, op)
		return nil
	}
	var op *longrunningpb.Operation
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		op, err = v.Site.Tier.Operations.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: operationName(v)})
		return err
	}); err != nil {
		return err
	}
	view, err := newOperationView(op)
	if err != nil {
		return err
	}
	rejected, err := rejections(v, view)
	if err != nil {
		return err
	}
	if v.ReloadWithoutScripts = !op.Done; v.ReloadWithoutScripts {
		v.Scripts = append(v.Scripts, "operation.js")
	}
	return v.Render(http.StatusOK, showPage(v, view, rejected))
}

// rejections returns a page of the files that an import rejected; nil if there are
// none or op is not a finished import.
func rejections(v *ui.PageContext, op operationView) (*transferspb.ListRejectionsResponse, error) {
	imported, ok := op.result.(*transferspb.ImportCatalogueResponse)
	if !ok || imported.Rejected == 0 {
		return nil, nil
	}
	return v.Site.Tier.Transfers.ListRejections(v.Context(), &transferspb.ListRejectionsRequest{
		Operation: op.Name, PageToken: v.Request.URL.Query().Get("page_token"),
	})
}

const operationsPerPage = 30

// filters maps the "show" parameter to a filter of ListOperations.
var filters = map[string]string{"running": "done = false", "ended": "done = true"}

// List renders a page of the account's operations, newest first.
func List(v *ui.PageContext) error {
	query := v.Request.URL.Query()
	var answer *longrunningpb.ListOperationsResponse
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Operations.ListOperations(ctx, &longrunningpb.ListOperationsRequest{
			Name: "operations", Filter: filters[query.Get("show")], PageSize: operationsPerPage, PageToken: query.Get("page_token"),
		})
		return err
	}); err != nil {
		return err
	}
	views := make([]operationView, 0, len(answer.Operations))
	for _, op := range answer.Operations {
		view, err := newOperationView(op)
		if err != nil {
			return err
		}
		views = append(views, view)
		v.ReloadWithoutScripts = v.ReloadWithoutScripts || !op.Done
	}
	return v.Render(http.StatusOK, listPage(v, query.Get("show"), views, answer.NextPageToken))
}

// Cancel requests the cancellation of an operation, which takes up to a second.
func Cancel(v *ui.PageContext) error {
	return change(v, "/"+operationName(v), func(ctx context.Context) error {
		_, err := v.Site.Tier.Operations.CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: operationName(v)})
		return err
	})
}

// Delete deletes a finished operation before it expires.
func Delete(v *ui.PageContext) error {
	return change(v, "/operations", func(ctx context.Context) error {
		_, err := v.Site.Tier.Operations.DeleteOperation(ctx, &longrunningpb.DeleteOperationRequest{Name: operationName(v)})
		return err
	})
}

// change makes call and redirects to path.
func change(v *ui.PageContext, path string, call func(context.Context) error) error {
	if err := call(v.Context()); err != nil {
		return err
	}
	return v.Redirect(path)
}
