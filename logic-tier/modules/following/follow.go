package following

import (
	"context"
	"strings"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// maxFollows bounds the channels that an account follows.
const maxFollows = 2000

var errTooMany = apperror.New(apperror.Exhausted, "TOO_MANY_FOLLOWS", "you follow 2,000 channels already; unfollow one first")

// followed is a channel that somebody follows.
type followed struct {
	channelID      int64
	channel, title string
	since          time.Time
}

// follow makes an account a follower; done twice, the second time changes
// nothing.
func (m *Module) follow(ctx context.Context, account int64, name string) error {
	answer, err := m.needs.Channels.GetChannel(ctx, &talkspb.GetChannelRequest{Name: name})
	if err != nil {
		return err
	}
	added, err := m.store.add(ctx, account, followed{
		channelID: answer.Channel.Id, channel: answer.Channel.Name, title: answer.Channel.Title,
	}, maxFollows)
	if err == nil && !added {
		return errTooMany
	}
	return err
}

// unfollow undoes follow.
func (m *Module) unfollow(ctx context.Context, account int64, name string) error {
	answer, err := m.needs.Channels.GetChannel(ctx, &talkspb.GetChannelRequest{Name: name})
	if err != nil {
		return err
	}
	return m.store.remove(ctx, account, answer.Channel.Id)
}

// follows says whether an account follows a channel. Names are looked at
// without case, as the channel's own is.
func (m *Module) follows(ctx context.Context, account int64, name string) (bool, error) {
	return m.store.has(ctx, account, strings.ToLower(name))
}
