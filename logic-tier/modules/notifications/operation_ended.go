package notifications

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/platform/queue"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// operationEnded delivers an operation's end to its account's inbox: a fan-out to one
// account, with the same guarantees.
func (m *Module) operationEnded(ctx context.Context, _ queue.Delivery, ended *operationspb.OperationEnded) error {
	p, err := m.store.beginFanOut(ctx, event{
		subject: ended.Operation, title: ended.Title, account: ended.AccountId, failed: !ended.Succeeded,
		published: ended.EndTime.AsTime(),
	})
	if err != nil || p.complete {
		return err
	}
	delivered, err := m.store.deliver(ctx, p.event, p.lastAccount, []int64{ended.AccountId}, true, position{})
	if err == nil && !delivered {
		err = fmt.Errorf("deliver the end of %s: another consumer is delivering it", ended.Operation)
	}
	return err
}
