package studio

import (
	"net/http"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
)

// Import begins to bring a catalogue in.
func Import(v *ui.Visit) error {
	if !v.SignedIn() {
		if v.PrefersJSON() {
			return v.AskToSignIn()
		}
		return v.Redirect("/sign-in?next=/studio")
	}
	op, err := begin(v)
	if err == nil {
		return v.Started(op)
	}
	if f, status, again := v.Refused(v.Typed("upload", "request_id"), err, nil); again {
		if reason := logicclient.Explain(err).Reason; reason == "UPLOAD_NOT_FOUND" || reason == "UPLOAD_INCOMPLETE" {
			f.Values["upload"] = ""
		}
		return show(v, status, ui.Fields{}, f)
	}
	return err
}

func begin(v *ui.Visit) (*longrunningpb.Operation, error) {
	if err := v.Form(); err != nil {
		return nil, err
	}
	upload, err := v.Upload()
	if err != nil {
		return nil, err
	}
	if upload == "" {
		return nil, nothing
	}
	return v.Site.Tier.Transfers.ImportCatalogue(v.Context(), &transferspb.ImportCatalogueRequest{
		Upload: upload, RequestId: v.Request.PostForm.Get("request_id"),
	})
}

var nothing = &logicclient.Problem{Status: http.StatusBadRequest, Title: "No file", Message: "Choose the catalogue's file first."}
