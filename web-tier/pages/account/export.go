package account

import (
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/ui"
)

// Export starts an export of all the account's channels to an archive.
func Export(v *ui.PageContext) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	op, err := v.Site.Tier.Transfers.ExportArchive(v.Context(), &transferspb.ExportArchiveRequest{
		RequestId: v.Request.PostForm.Get("request_id"),
	})
	if err != nil {
		return err
	}
	return v.RespondAccepted(op)
}
