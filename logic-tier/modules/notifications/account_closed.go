package notifications

import (
	"context"

	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// Placeholders for deleted titles in the inboxes of a channel's followers.
const (
	removedTalk    = "Removed talk"
	removedChannel = "Removed channel"
)

// accountClosed deletes the inbox of a closed account and the events of its operations.
// It is idempotent.
func (m *Module) accountClosed(ctx context.Context, _ queue.Delivery, closed *accountspb.AccountClosed) error {
	return m.store.removeAccount(ctx, closed.AccountId)
}

// channelRemoved removes the titles of a channel and its talks from its followers'
// inboxes, and the talks' addresses, which derive from titles. The items stay, so that
// cursors remain valid.
func (m *Module) channelRemoved(ctx context.Context, _ queue.Delivery, removed *talkspb.ChannelRemoved) error {
	return m.store.redactChannel(ctx, removed.Channel, removed.ChannelId)
}
