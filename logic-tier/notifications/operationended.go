package notifications

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/queue"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// operationEnded puts an operation that has ended into its account's inbox: a
// fan-out to one, with the same promises.
func (m *Module) operationEnded(ctx context.Context, d queue.Delivery) error {
	var ended operationspb.OperationEnded
	if err := proto.Unmarshal(d.Body, &ended); err != nil {
		return queue.Reject(fmt.Errorf("body is no OperationEnded: %w", err))
	}
	at, err := m.store.beginFanOut(ctx, event{
		subject: ended.Operation, title: ended.Title, account: ended.AccountId, failed: !ended.Succeeded,
		published: ended.EndTime.AsTime(),
	})
	if err != nil || at.complete {
		return err
	}
	delivered, err := m.store.deliver(ctx, at.event, at.lastAccount, []int64{ended.AccountId}, true)
	if err == nil && !delivered {
		err = fmt.Errorf("telling of %s: somebody else is working it", ended.Operation)
	}
	return err
}
