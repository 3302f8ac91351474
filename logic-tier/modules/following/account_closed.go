package following

import (
	"context"

	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// removeBatch bounds the rows that one statement deletes: a channel can have a million
// followers.
const removeBatch = 5000

// accountClosed deletes the follows of a closed account, at most maxFollows rows. It is
// idempotent.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, closed *accountspb.AccountClosed) error {
	return m.store.removeAccount(ctx, closed.AccountId)
}

// channelRemoved deletes the followers of a removed channel, in batches. After an
// interruption, the next delivery deletes the rest.
func (m *Module) channelRemoved(ctx context.Context, _ queue.Delivery, channel *talkspb.ChannelRemoved) error {
	for removed := int64(removeBatch); removed == removeBatch; {
		var err error
		if removed, err = m.store.removeChannel(ctx, channel.ChannelId, removeBatch); err != nil {
			return err
		}
	}
	return nil
}
