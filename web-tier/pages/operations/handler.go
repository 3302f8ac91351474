// Package operations shows long work: what of it runs, how far it is, and what
// came of it.
package operations

import (
	"context"
	"net/http"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/live"
)

func name(v *ui.PageContext) string { return "operations/" + v.Request.PathValue("operation") }

// Show shows an operation. A program gets it as JSON: the short poll.
func Show(v *ui.PageContext) error {
	v.Writer.Header().Add("Vary", "Accept")
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	if v.PrefersJSON() {
		op, err := v.Site.Tier.Operations.GetOperation(v.Context(), &longrunningpb.GetOperationRequest{Name: name(v)})
		if err != nil {
			live.AnswerProblem(v.Writer, v.Request, err)
			return nil
		}
		live.AnswerOperation(v.Writer, v.Request, op)
		return nil
	}
	var op *longrunningpb.Operation
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		op, err = v.Site.Tier.Operations.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: name(v)})
		return err
	}); err != nil {
		return err
	}
	w, err := read(op)
	if err != nil {
		return err
	}
	rejected, err := rejections(v, w)
	if err != nil {
		return err
	}
	if v.ReloadWithoutScripts = !op.Done; v.ReloadWithoutScripts {
		v.Scripts = append(v.Scripts, "operation.js")
	}
	return v.Render(http.StatusOK, showPage(v, w, rejected))
}

// rejections returns what an import could not take, a page of it; nil when there
// is none, or it is no import.
func rejections(v *ui.PageContext, w work) (*transferspb.ListRejectionsResponse, error) {
	imported, ok := w.result.(*transferspb.ImportCatalogueResponse)
	if !ok || imported.Rejected == 0 {
		return nil, nil
	}
	return v.Site.Tier.Transfers.ListRejections(v.Context(), &transferspb.ListRejectionsRequest{
		Operation: w.Name, PageToken: v.Request.URL.Query().Get("page_token"),
	})
}

// listed is how many operations a page lists.
const listed = 30

// filters are what the list can be narrowed to, in the contract's words.
var filters = map[string]string{"running": "done = false", "ended": "done = true"}

// List shows the account's operations, the newest first.
func List(v *ui.PageContext) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	query := v.Request.URL.Query()
	var answer *longrunningpb.ListOperationsResponse
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Operations.ListOperations(ctx, &longrunningpb.ListOperationsRequest{
			Name: "operations", Filter: filters[query.Get("show")], PageSize: listed, PageToken: query.Get("page_token"),
		})
		return err
	}); err != nil {
		return err
	}
	all := make([]work, 0, len(answer.Operations))
	for _, op := range answer.Operations {
		w, err := read(op)
		if err != nil {
			return err
		}
		all = append(all, w)
		v.ReloadWithoutScripts = v.ReloadWithoutScripts || !op.Done
	}
	return v.Render(http.StatusOK, listPage(v, query.Get("show"), all, answer.NextPageToken))
}

// Cancel asks for an operation to stop. It stops within a second.
func Cancel(v *ui.PageContext) error {
	return change(v, "/"+name(v), func(ctx context.Context) error {
		_, err := v.Site.Tier.Operations.CancelOperation(ctx, &longrunningpb.CancelOperationRequest{Name: name(v)})
		return err
	})
}

// Delete removes an operation that has ended, before its time.
func Delete(v *ui.PageContext) error {
	return change(v, "/operations", func(ctx context.Context) error {
		_, err := v.Site.Tier.Operations.DeleteOperation(ctx, &longrunningpb.DeleteOperationRequest{Name: name(v)})
		return err
	})
}

func change(v *ui.PageContext, then string, call func(context.Context) error) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	if err := call(v.Context()); err != nil {
		return err
	}
	return v.Redirect(then)
}
