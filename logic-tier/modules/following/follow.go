package following

import (
	"context"
	"strings"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// maxFollows bounds the channels that an account can follow.
const maxFollows = 2000

var errTooManyFollows = apperror.New(apperror.Exhausted, "TOO_MANY_FOLLOWS", "you follow 2,000 channels, the maximum; unfollow one first")

// followedChannel is a channel that an account follows.
type followedChannel struct {
	channelID      int64
	channel, title string
	since          time.Time
}

// follow makes an account a follower of a channel. It is idempotent.
func (m *Module) follow(ctx context.Context, account int64, name string) error {
	response, err := m.deps.Channels.GetChannel(ctx, &talkspb.GetChannelRequest{Name: name})
	if err != nil {
		return err
	}
	added, err := m.store.add(ctx, account, followedChannel{
		channelID: response.Channel.Id, channel: response.Channel.Name, title: response.Channel.Title,
	}, maxFollows)
	if err == nil && !added {
		return errTooManyFollows
	}
	return err
}

// unfollow ends an account's follow of a channel. It is idempotent.
func (m *Module) unfollow(ctx context.Context, account int64, name string) error {
	response, err := m.deps.Channels.GetChannel(ctx, &talkspb.GetChannelRequest{Name: name})
	if err != nil {
		return err
	}
	return m.store.remove(ctx, account, response.Channel.Id)
}

// follows reports whether an account follows a channel. Channel names are
// case-insensitive.
func (m *Module) follows(ctx context.Context, account int64, name string) (bool, error) {
	return m.store.isFollowing(ctx, account, strings.ToLower(name))
}
