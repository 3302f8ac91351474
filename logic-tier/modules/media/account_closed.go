package media

import (
	"context"

	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

// handleAccountClosed deletes all uploads, transcode outputs, recordings and archives of a
// closed account. The sweep then deletes their bytes. It is idempotent.
func (m *Module) handleAccountClosed(ctx context.Context, _ queue.Delivery, event *accountspb.AccountClosed) error {
	if event.AccountId == operatorAccount {
		return nil
	}
	return m.store.deleteAccount(ctx, event.AccountId)
}
