package talks

import (
	"context"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// removeAtOnce bounds the talks that one transaction deletes: a channel may have
// 200,000.
const removeAtOnce = 500

// accountClosed deletes the channels of a closed account with their talks, a batch
// at a time. Interrupted, the next delivery continues with what is left. Recordings
// are the media module's, which receives the same message.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, said *accountspb.AccountClosed) error {
	// First, in a transaction of its own: whoever finds a channel's address free
	// finds it retired, too.
	if err := m.store.retireChannels(ctx, said.AccountId); err != nil {
		return err
	}
	if err := m.store.forgetForms(ctx, said.AccountId); err != nil {
		return err
	}
	owned, err := m.store.channelsOf(ctx, said.AccountId)
	if err != nil {
		return err
	}
	for _, c := range owned {
		for removed := int64(removeAtOnce); removed == removeAtOnce; {
			if removed, err = m.store.removeTalks(ctx, c.id, removeAtOnce); err != nil {
				return err
			}
		}
		if err := m.removeChannel(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// removeChannel deletes an empty channel and tells the other modules.
func (m *Module) removeChannel(ctx context.Context, c channel) error {
	return m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		if err := m.store.removeChannel(ctx, tx, c.id); err != nil {
			return err
		}
		_, err := m.needs.Publisher.Publish(ctx, tx, queue.Message{
			Exchange: exchange, RoutingKey: removed, Type: removed,
			Body: &talkspb.ChannelRemoved{Channel: "channels/" + c.slug, ChannelId: c.id},
		})
		return err
	})
}
