package transfers

import (
	"context"

	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

const accountClosedQueue = "transfers.account-closed"

// accountClosed deletes a closed account's imports and exports in batches. If it is
// interrupted, the redelivered message deletes the rest.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, event *accountspb.AccountClosed) error {
	if event.AccountId == 0 {
		return nil // 0 is the operator
	}
	for _, statement := range deleteAccountStatements {
		for deleted := int64(sweepBatch); deleted == sweepBatch; {
			var err error
			if deleted, err = m.store.deleteByAccount(ctx, statement, event.AccountId, sweepBatch); err != nil {
				return err
			}
		}
	}
	return nil
}
