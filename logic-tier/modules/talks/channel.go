package talks

import (
	"context"
	"strings"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
)

// maxChannels bounds an account's channels.
const maxChannels = 20

var (
	errManyChannels  = apperror.New(apperror.Exhausted, "TOO_MANY_CHANNELS", "you have 20 channels, which is as many as an account may have")
	errChannelExists = func() *apperror.Failure {
		f := apperror.New(apperror.Exists, "CHANNEL_EXISTS", "a channel with this address is there already; choose another")
		f.Violations = []apperror.Violation{{Field: "channel_id", Description: f.Message}}
		return f
	}()
)

// channel is where talks are published.
type channel struct {
	id                       int64
	slug, title, description string
	ownerID                  int64 // 0: imported
	ownerHandle              string
	talkCount                int64
	created                  time.Time
}

// ownedBy says whether a person may publish on the channel: only who made it.
func (c channel) ownedBy(p caller.Person) bool { return c.ownerID != 0 && c.ownerID == p.ID }

// createChannel makes a channel that belongs to a person.
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
