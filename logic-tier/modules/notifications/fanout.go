package notifications

import (
	"context"

	"techtalks.example/logic-tier/platform/queue"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// talkPublished tells a channel's followers of a talk, and before it of those that the
// channel published earlier and that they were not told of yet. Messages may come in
// another order than talks were published in: one that could not be worked comes
// again when its lease is over, and later ones do not wait for it. So a message says
// no more than that there is something to tell.
func (m *Module) talkPublished(ctx context.Context, _ queue.Delivery, published *talkspb.TalkPublished) error {
	if published.Number == 0 {
		return m.fanOut(ctx, published) // said by a program that did not count yet
	}
	for {
		through, err := m.store.through(ctx, published.ChannelId)
		if err != nil || through >= published.Number {
			return err
		}
		if through == published.Number-1 {
			return m.fanOut(ctx, published)
		}
		earlier, err := m.needs.Talks.ListPublications(ctx, &talkspb.ListPublicationsRequest{
			ChannelId: published.ChannelId, AfterNumber: through, PageSize: publicationPage,
		})
		if err != nil {
			return err
		}
		told := false
		for _, p := range earlier.Publications {
			if p.Number > published.Number {
				break
			}
			told = true
			if err := m.fanOut(ctx, p); err != nil {
				return err
			}
		}
		if !told { // of a restored database, say: what the message tells of is not in it
			return m.fanOut(ctx, published)
		}
	}
}

// fanOut puts a published talk into the inbox of every follower, a chunk at a
// time. Interrupted, it goes on after the last chunk that committed; done twice, the
// second time changes nothing; and where two work it at once, each goes on from where
// the other is.
func (m *Module) fanOut(ctx context.Context, published *talkspb.TalkPublished) error {
	of := place{channel: published.ChannelId, number: published.Number}
	for ctx.Err() == nil {
		at, err := m.store.beginFanOut(ctx, event{
			subject: published.Talk, title: published.Title, channel: published.Channel,
			channelName: published.ChannelTitle, published: published.PublishTime.AsTime(),
		})
		if err != nil {
			return err
		}
		if at.complete {
			return m.store.pass(ctx, of)
		}
		if done, err := m.fanOutFrom(ctx, at, of); done || err != nil {
			return err
		}
	}
	return ctx.Err()
}

// fanOutFrom goes on with a fan-out from where it is, and returns false when somebody
// else has gone on meanwhile.
func (m *Module) fanOutFrom(ctx context.Context, at progress, of place) (done bool, err error) {
	for after := at.lastAccount; !at.complete; {
		page, err := m.needs.Following.ListFollowers(ctx, &followingpb.ListFollowersRequest{
			ChannelId: of.channel, AfterAccountId: after, PageSize: followerPage,
		})
		if err != nil {
			return false, err
		}
		followers, end := page.AccountIds, len(page.AccountIds) < followerPage
		for {
			part := followers[:min(chunk, len(followers))]
			followers = followers[len(part):]
			at.complete = end && len(followers) == 0
			delivered, err := m.store.deliver(ctx, at.event, after, part, at.complete, of)
			if err != nil || !delivered {
				return false, err
			}
			if len(part) > 0 {
				after = part[len(part)-1]
			}
			if len(followers) == 0 {
				break
			}
		}
	}
	return true, nil
}

const (
	// followerPage is how many followers are read at once: few enough to hold, many
	// enough that the reading costs nothing beside the writing.
	followerPage = 10 * chunk
	// publicationPage is how many earlier talks are read at once; mostly there is none.
	publicationPage = 50
)
