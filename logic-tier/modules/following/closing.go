package following

import (
	"context"

	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// removeAtOnce bounds one statement: a channel may have a million followers.
const removeAtOnce = 5000

// accountClosed deletes what a closed account followed. Its rows are few
// (maxFollows), and deleting them twice changes nothing.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, said *accountspb.AccountClosed) error {
	return m.store.removeAccount(ctx, said.AccountId)
}

// channelRemoved deletes the followers of a channel that is gone, a batch at a
// time. Interrupted, the next delivery continues with those that are left.
func (m *Module) channelRemoved(ctx context.Context, _ queue.Delivery, said *talkspb.ChannelRemoved) error {
	for removed := int64(removeAtOnce); removed == removeAtOnce; {
		var err error
		if removed, err = m.store.removeChannel(ctx, said.ChannelId, removeAtOnce); err != nil {
			return err
		}
	}
	return nil
}
