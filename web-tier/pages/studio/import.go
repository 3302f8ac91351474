package studio

import (
	"net/http"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
)

// Import starts the import of a catalogue.
func Import(v *ui.PageContext) error {
	op, err := startImport(v)
	if err == nil {
		return v.RespondAccepted(op)
	}
	if f, status, ok := v.WithErrors(v.Submitted("upload", "request_id"), err, nil); ok {
		if reason := logicclient.Explain(err).Reason; reason == "UPLOAD_NOT_FOUND" || reason == "UPLOAD_INCOMPLETE" {
			f.Values["upload"] = ""
		}
		return show(v, status, ui.Fields{}, f)
	}
	return err
}

func startImport(v *ui.PageContext) (*longrunningpb.Operation, error) {
	if err := v.ParseForm(); err != nil {
		return nil, err
	}
	upload, err := v.Upload()
	if err != nil {
		return nil, err
	}
	if upload == "" {
		return nil, errNoFile
	}
	return v.Site.Tier.Transfers.ImportCatalogue(v.Context(), &transferspb.ImportCatalogueRequest{
		Upload: upload, RequestId: v.Request.PostForm.Get("request_id"),
	})
}

var errNoFile = &logicclient.Problem{Status: http.StatusBadRequest, Title: "No file", Message: "Choose a catalogue file first."}
