package transfers

import (
	"context"

	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

const closedQueue = "transfers.account-closed"

// accountClosed deletes what is kept of a closed account's imports and exports, a
// batch at a time. Interrupted, the next delivery continues with what is left.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, said *accountspb.AccountClosed) error {
	if said.AccountId == 0 {
		return nil // the operator's
	}
	for _, statement := range removeAccountStatements {
		for removed := int64(sweepAtOnce); removed == sweepAtOnce; {
			var err error
			if removed, err = m.store.removeOf(ctx, statement, said.AccountId, sweepAtOnce); err != nil {
				return err
			}
		}
	}
	return nil
}
