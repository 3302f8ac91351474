package media

import (
	"context"

	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

// accountClosed removes all files of a closed account: uploads, what was made of
// them, recordings and archives. The sweep then erases their bytes. Removing twice
// changes nothing.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, said *accountspb.AccountClosed) error {
	if said.AccountId == operator {
		return nil
	}
	return m.store.removeAccount(ctx, said.AccountId)
}
