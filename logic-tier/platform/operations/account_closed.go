package operations

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

const closedQueue = "operations.account-closed"

// removeAtOnce bounds one statement; an operation has up to keptSteps steps.
const removeAtOnce = 100

// Consumers work the module's queue.
func (m *Module) Consumers() []queue.Consumer {
	return []queue.Consumer{{Queue: closedQueue, Concurrency: 1, Handle: queue.Idempotent(m.accountClosed)}}
}

// accountClosed deletes the operations of a closed account. Workers find out that
// theirs is gone, and stop. Deleting twice changes nothing.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, said *accountspb.AccountClosed) error {
	if said.AccountId == 0 {
		return nil // the operator's
	}
	for removed := removeAtOnce; removed == removeAtOnce; {
		if err := m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
			if err := m.store.lockAccount(ctx, tx, said.AccountId); err != nil {
				return err
			}
			gone, err := m.store.removeOf(ctx, tx, said.AccountId, removeAtOnce)
			if err != nil {
				return err
			}
			removed = len(gone)
			for _, id := range gone {
				if err := m.store.announce(ctx, tx, id); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}
