package talks

import (
	"context"
	"strings"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
)

// maxChannels bounds the channels of an account.
const maxChannels = 20

var (
	errTooManyChannels = apperror.New(apperror.Exhausted, "TOO_MANY_CHANNELS", "you have 20 channels, the maximum for an account")
	errChannelExists   = func() *apperror.Failure {
		f := apperror.New(apperror.Exists, "CHANNEL_EXISTS", "that address is taken; try another")
		f.Violations = []apperror.Violation{{Field: "channel_id", Description: f.Message}}
		return f
	}()
)

// channel is a channel that talks are published on.
type channel struct {
	id                       int64
	slug, title, description string
	ownerID                  int64 // 0 if imported by an operator
	ownerHandle              string
	talkCount                int64
	created                  time.Time
}

// ownedBy reports whether a person owns the channel. Only its owner can publish on it.
func (c channel) ownedBy(p caller.Person) bool { return c.ownerID != 0 && c.ownerID == p.ID }

// createChannel creates a channel that a person owns.
func (m *Module) createChannel(ctx context.Context, owner caller.Person, slug, title, description string) (channel, error) {
	title, err := cleanName("title", title)
	if err != nil {
		return channel{}, err
	}
	return m.store.addChannel(ctx, channel{
		slug: slug, title: title, description: strings.TrimSpace(description),
		ownerID: owner.ID, ownerHandle: owner.Handle,
	})
}
