package talks

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// removeBatch bounds the talks that one statement deletes: a channel can have 200,000.
const removeBatch = 500

// accountClosed deletes the channels of a closed account with their talks, in batches.
// After an interruption, the next delivery deletes the rest. The media module receives
// the same message and deletes the recordings.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, closed *accountspb.AccountClosed) error {
	// Commit this first, so that a channel's address is retired before it becomes free.
	if err := m.store.retireChannels(ctx, closed.AccountId); err != nil {
		return err
	}
	if err := m.store.deleteForms(ctx, closed.AccountId); err != nil {
		return err
	}
	owned, err := m.store.channelsOf(ctx, closed.AccountId)
	if err != nil {
		return err
	}
	for _, c := range owned {
		for removed := int64(removeBatch); removed == removeBatch; {
			if removed, err = m.store.removeTalks(ctx, c.id, removeBatch); err != nil {
				return err
			}
		}
		if err := m.removeChannel(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// removeChannel deletes an empty channel and publishes channel.removed.
func (m *Module) removeChannel(ctx context.Context, c channel) error {
	return m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		if err := m.store.removeChannel(ctx, tx, c.id); err != nil {
			return err
		}
		_, err := m.deps.Publisher.Publish(ctx, tx, queue.Message{
			Exchange: exchange, RoutingKey: channelRemovedType, Type: channelRemovedType,
			Body: &talkspb.ChannelRemoved{Channel: "channels/" + c.slug, ChannelId: c.id},
		})
		return err
	})
}
