package operations

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

const accountClosedQueue = "operations.account-closed"

// deleteBatch bounds the operations deleted per statement; each has up to maxSteps
// steps.
const deleteBatch = 100

// Consumers returns the consumers of the module's queue.
func (m *Module) Consumers() []queue.Consumer {
	return []queue.Consumer{{Queue: accountClosedQueue, Concurrency: 1, Handle: queue.Idempotent(m.accountClosed)}}
}

// accountClosed deletes the operations of a closed account. Their workers get
// errNotFound and stop. It is idempotent.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, event *accountspb.AccountClosed) error {
	if event.AccountId == 0 {
		return nil // 0 is the operator
	}
	for deleted := deleteBatch; deleted == deleteBatch; {
		if err := m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
			if err := m.store.lockAccount(ctx, tx, event.AccountId); err != nil {
				return err
			}
			ids, err := m.store.deleteByAccount(ctx, tx, event.AccountId, deleteBatch)
			if err != nil {
				return err
			}
			deleted = len(ids)
			for _, id := range ids {
				if err := m.store.notify(ctx, tx, id); err != nil {
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
