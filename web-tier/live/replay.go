package live

import (
	"context"

	"google.golang.org/grpc/metadata"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	"techtalks.example/proto/transport"
)

// replay asks for what arrived after a cursor. It is worked by a few goroutines
// of their own: a call on each stream's own would grow ten thousand stacks.
type replay struct {
	ctx    context.Context
	token  string
	after  string // empty: from now on
	answer chan replayed
}

// replayed is a page of what arrived.
type replayed struct {
	frames []*frame
	cursor cursor
	more   bool
	err    error
}

func (i *Inbox) workReplays(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-i.replays:
			r.answer <- i.read(r)
		}
	}
}

func (i *Inbox) read(r replay) (page replayed) {
	ctx, done := context.WithTimeout(r.ctx, replayTimeout)
	defer done()
	ctx = metadata.AppendToOutgoingContext(ctx, transport.SessionKey, r.token)
	at := r.after
	if at == "" {
		inbox, err := i.client.GetInbox(ctx, &notificationspb.GetInboxRequest{})
		if err != nil {
			return replayed{err: err}
		}
		page.cursor, _ = parseCursor(inbox.Cursor)
		// An id without data is no event, but the browser keeps it: should the
		// connection break before the first event, it goes on from here.
		page.frames = []*frame{{page.cursor, []byte("id: " + inbox.Cursor + "\n\n")}}
		return page
	}
	answer, err := i.client.ListNotifications(ctx, &notificationspb.ListNotificationsRequest{After: at, PageSize: replayPage})
	if err != nil {
		return replayed{err: err}
	}
	page.more = answer.More
	page.cursor, _ = parseCursor(answer.Cursor)
	if answer.Reset_ != nil {
		f, err := resetFrame(answer.Reset_)
		if err != nil {
			return replayed{err: err}
		}
		page.frames = append(page.frames, f)
	}
	for _, n := range answer.Notifications {
		f, err := notificationFrame(n)
		if err != nil {
			return replayed{err: err}
		}
		page.frames = append(page.frames, f)
	}
	return page
}
