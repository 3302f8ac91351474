package notifications

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/platform/queue"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// operationEnded puts an operation that has ended into its account's inbox: a
// fan-out to one, with the same promises.
func (m *Module) operationEnded(ctx context.Context, _ queue.Delivery, ended *operationspb.OperationEnded) error {
	at, err := m.store.beginFanOut(ctx, event{
		subject: ended.Operation, title: ended.Title, account: ended.AccountId, failed: !ended.Succeeded,
		published: ended.EndTime.AsTime(),
	})
	if err != nil || at.complete {
		return err
	}
	delivered, err := m.store.deliver(ctx, at.event, at.lastAccount, []int64{ended.AccountId}, true, place{})
	if err == nil && !delivered {
		err = fmt.Errorf("telling of %s: somebody else is working it", ended.Operation)
	}
	return err
}
