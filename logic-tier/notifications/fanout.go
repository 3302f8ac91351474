package notifications

import (
	"context"
	"fmt"

	"techtalks.example/logic-tier/queue"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// fanOut puts a published talk into the inbox of every follower, a chunk at a
// time. Interrupted, it goes on after the last chunk that committed; done
// twice, the second time changes nothing.
func (m *Module) fanOut(ctx context.Context, _ queue.Delivery, published *talkspb.TalkPublished) error {
	at, err := m.store.beginFanOut(ctx, event{
		subject: published.Talk, title: published.Title, channel: published.Channel,
		channelName: published.ChannelTitle, published: published.PublishTime.AsTime(),
	})
	if err != nil {
		return err
	}
	for after := at.lastAccount; !at.complete; {
		page, err := m.needs.Following.ListFollowers(ctx, &followingpb.ListFollowersRequest{
			ChannelId: published.ChannelId, AfterAccountId: after, PageSize: followerPage,
		})
		if err != nil {
			return err
		}
		followers, end := page.AccountIds, len(page.AccountIds) < followerPage
		for {
			part := followers[:min(chunk, len(followers))]
			followers = followers[len(part):]
			at.complete = end && len(followers) == 0
			delivered, err := m.store.deliver(ctx, at.event, after, part, at.complete)
			if err != nil {
				return err
			}
			if !delivered {
				return fmt.Errorf("fan-out of %s: somebody else is working it", published.Talk)
			}
			if len(part) > 0 {
				after = part[len(part)-1]
			}
			if len(followers) == 0 {
				break
			}
		}
	}
	return nil
}

// followerPage is how many followers are read at once: few enough to hold, many
// enough that the reading costs nothing beside the writing.
const followerPage = 10 * chunk
