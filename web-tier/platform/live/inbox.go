package live

import (
	"context"
	"encoding/json"
	"log/slog"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// NewInbox returns a Feed of inboxes. A session's inbox is the only one it can
// follow: the key is always empty. A notification is an event "notification";
// a cursor that cannot be honoured is answered with an event "reset".
func NewInbox(client notificationspb.NotificationsClient, log *slog.Logger) *Feed {
	return newFeed(inboxes{client}, log.With("feed", "inbox"))
}

// inboxes is the source of notifications.
type inboxes struct {
	client notificationspb.NotificationsClient
}

func (inboxes) takes(key string) bool { return key == "" }

func (inboxes) traits() traits { return traits{signIn: "Sign in to follow your inbox."} }

func (i inboxes) read(ctx context.Context, _, after string) (page, error) {
	if after == "" {
		inbox, err := i.client.GetInbox(ctx, &notificationspb.GetInboxRequest{})
		if err != nil {
			return page{}, err
		}
		now, _ := parseCursor(inbox.Cursor)
		return page{cursor: now, frames: []*frame{bareFrame(now)}}, nil
	}
	answer, err := i.client.ListNotifications(ctx, &notificationspb.ListNotificationsRequest{After: after, PageSize: replayPage})
	if err != nil {
		return page{}, err
	}
	p := page{more: answer.More, reset: answer.Reset_ != nil}
	p.cursor, _ = parseCursor(answer.Cursor)
	if p.reset {
		f, err := newFrame("reset", answer.Reset_.Cursor, answer.Reset_)
		if err != nil {
			return page{}, err
		}
		p.frames = append(p.frames, f)
	}
	for _, n := range answer.Notifications {
		f, err := notificationFrame(n)
		if err != nil {
			return page{}, err
		}
		p.frames, p.changed = append(p.frames, f), when(n.PublishTime)
	}
	return p, nil
}

func notificationFrame(n *notificationspb.Notification) (*frame, error) {
	return newFrame("notification", n.Id, n)
}

// list is a ListNotificationsResponse in the contract's field names, around
// items that are JSON already.
type list struct {
	Notifications []json.RawMessage `json:"notifications"`
	NextPageToken string            `json:"next_page_token"`
	Cursor        string            `json:"cursor"`
	More          bool              `json:"more"`
	Reset         json.RawMessage   `json:"reset"`
}

func (inboxes) body(p page) ([]byte, error) {
	l := list{Notifications: []json.RawMessage{}, Cursor: p.cursor.String(), More: p.more}
	for _, f := range p.frames {
		switch {
		case f.json == nil:
		case p.reset:
			l.Reset = f.json
		default:
			l.Notifications = append(l.Notifications, f.json)
		}
	}
	return json.Marshal(l)
}

func (i inboxes) open(ctx context.Context) (upstream, error) {
	stream, err := i.client.StreamNotifications(ctx)
	return inboxStream{stream}, err
}

type inboxStream struct {
	notificationspb.Notifications_StreamNotificationsClient
}

func (s inboxStream) send(c change) error {
	if c.end {
		return s.Send(&notificationspb.StreamNotificationsRequest{Change: &notificationspb.StreamNotificationsRequest_Unsubscribe_{
			Unsubscribe: &notificationspb.StreamNotificationsRequest_Unsubscribe{Subscription: c.number},
		}})
	}
	return s.Send(&notificationspb.StreamNotificationsRequest{Change: &notificationspb.StreamNotificationsRequest_Subscribe_{
		Subscribe: &notificationspb.StreamNotificationsRequest_Subscribe{Subscription: c.number, SessionToken: c.token},
	}})
}

func (s inboxStream) receive() (h happened, err error) {
	response, err := s.Recv()
	if err != nil {
		return h, err
	}
	switch event := response.Event.(type) {
	case *notificationspb.StreamNotificationsResponse_Subscribed_:
		h.subscribed = event.Subscribed.Subscription
	case *notificationspb.StreamNotificationsResponse_Ended_:
		h.ended, h.reason = event.Ended.Subscription, event.Ended.Reason
	case *notificationspb.StreamNotificationsResponse_Arrived_:
		h.subscriptions = event.Arrived.Subscriptions
		h.news, h.bad = notificationFrame(event.Arrived.Notification)
	case *notificationspb.StreamNotificationsResponse_Gap_:
		h.gap = true
	}
	return h, nil
}
