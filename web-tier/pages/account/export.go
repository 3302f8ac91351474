package account

import (
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/ui"
)

// Export begins an archive of all the account's channels.
func Export(v *ui.Visit) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	if err := v.Form(); err != nil {
		return err
	}
	op, err := v.Site.Tier.Transfers.ExportArchive(v.Context(), &transferspb.ExportArchiveRequest{
		RequestId: v.Request.PostForm.Get("request_id"),
	})
	if err != nil {
		return err
	}
	return v.Started(op)
}
