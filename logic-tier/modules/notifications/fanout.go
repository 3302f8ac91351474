package notifications

import (
	"context"

	"techtalks.example/logic-tier/platform/queue"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// talkPublished delivers a talk to its channel's followers, after all of the channel's
// earlier publications. Messages can arrive out of publishing order: a message whose
// handling failed is redelivered when its lease expires, and later messages do not wait
// for it. So a message is only a signal that the channel has something to deliver.
func (m *Module) talkPublished(ctx context.Context, _ queue.Delivery, published *talkspb.TalkPublished) error {
	if published.Number == 0 {
		return m.fanOut(ctx, published) // from a version that did not number publications
	}
	for {
		watermark, err := m.store.watermark(ctx, published.ChannelId)
		if err != nil || watermark >= published.Number {
			return err
		}
		if watermark == published.Number-1 {
			return m.fanOut(ctx, published)
		}
		earlier, err := m.deps.Talks.ListPublications(ctx, &talkspb.ListPublicationsRequest{
			ChannelId: published.ChannelId, AfterNumber: watermark, PageSize: publicationPage,
		})
		if err != nil {
			return err
		}
		advanced := false
		for _, p := range earlier.Publications {
			if p.Number > published.Number {
				break
			}
			advanced = true
			if err := m.fanOut(ctx, p); err != nil {
				return err
			}
		}
		if !advanced { // the talk is not in the talks database, which was restored from a backup, for example
			return m.fanOut(ctx, published)
		}
	}
}

// fanOut adds a published talk to the inbox of every follower, one chunk at a time. After
// an interruption it resumes from the last committed chunk. It is idempotent, and safe
// to run concurrently: each run continues from the shared checkpoint.
func (m *Module) fanOut(ctx context.Context, published *talkspb.TalkPublished) error {
	pos := position{channel: published.ChannelId, number: published.Number}
	for ctx.Err() == nil {
		p, err := m.store.beginFanOut(ctx, event{
			subject: published.Talk, title: published.Title, channel: published.Channel,
			channelTitle: published.ChannelTitle, published: published.PublishTime.AsTime(),
		})
		if err != nil {
			return err
		}
		if p.complete {
			return m.store.advanceWatermark(ctx, pos)
		}
		if done, err := m.resumeFanOut(ctx, p, pos); done || err != nil {
			return err
		}
	}
	return ctx.Err()
}

// resumeFanOut continues a fan-out from its checkpoint. It reports false if another
// consumer moved the checkpoint meanwhile.
func (m *Module) resumeFanOut(ctx context.Context, p progress, pos position) (done bool, err error) {
	for after := p.lastAccount; !p.complete; {
		page, err := m.deps.Following.ListFollowers(ctx, &followingpb.ListFollowersRequest{
			ChannelId: pos.channel, AfterAccountId: after, PageSize: followerPage,
		})
		if err != nil {
			return false, err
		}
		followers, lastPage := page.AccountIds, len(page.AccountIds) < followerPage
		for {
			chunk := followers[:min(chunkSize, len(followers))]
			followers = followers[len(chunk):]
			p.complete = lastPage && len(followers) == 0
			delivered, err := m.store.deliver(ctx, p.event, after, chunk, p.complete, pos)
			if err != nil || !delivered {
				return false, err
			}
			if len(chunk) > 0 {
				after = chunk[len(chunk)-1]
			}
			if len(followers) == 0 {
				break
			}
		}
	}
	return true, nil
}

const (
	// followerPage is the number of followers read at once: few enough to hold in memory,
	// enough to make the cost of reading negligible beside that of writing.
	followerPage = 10 * chunkSize
	// publicationPage is the number of earlier talks read at once. Usually there are none.
	publicationPage = 50
)
