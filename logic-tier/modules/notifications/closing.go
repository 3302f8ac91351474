package notifications

import (
	"context"

	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// What the inboxes of others show in the place of a title that was deleted.
const (
	removedTalk    = "A talk that was removed"
	removedChannel = "A channel that was removed"
)

// accountClosed deletes the inbox of a closed account, and what tells of its
// operations. Deleting twice changes nothing.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, said *accountspb.AccountClosed) error {
	return m.store.removeAccount(ctx, said.AccountId)
}

// channelRemoved removes the titles of a channel and its talks, and the talks'
// addresses, which are made of titles, from the inboxes of others. The items stay: cursors count them.
func (m *Module) channelRemoved(ctx context.Context, _ queue.Delivery, said *talkspb.ChannelRemoved) error {
	return m.store.forgetChannel(ctx, said.Channel, said.ChannelId)
}
