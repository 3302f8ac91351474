package live

import (
	"context"
	"encoding/json"
	"log/slog"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// NewInbox returns a Feed of inboxes. A session can follow only its own inbox, so
// the key is always empty. Each notification is an event "notification". An invalid
// cursor is answered with an event "reset".
func NewInbox(client notificationspb.NotificationsClient, log *slog.Logger) *Feed {
	return newFeed(inboxSource{client}, log.With("feed", "inbox"))
}

// inboxSource is the source of notifications.
type inboxSource struct {
	client notificationspb.NotificationsClient
}

func (inboxSource) validKey(key string) bool { return key == "" }

func (inboxSource) traits() traits { return traits{signInMessage: "Sign in to follow your inbox."} }

func (s inboxSource) read(ctx context.Context, _, after string) (page, error) {
	if after == "" {
		inbox, err := s.client.GetInbox(ctx, &notificationspb.GetInboxRequest{})
		if err != nil {
			return page{}, err
		}
		latest, _ := parseCursor(inbox.Cursor)
		return page{cursor: latest, frames: []*frame{cursorFrame(latest)}}, nil
	}
	response, err := s.client.ListNotifications(ctx, &notificationspb.ListNotificationsRequest{After: after, PageSize: replayPage})
	if err != nil {
		return page{}, err
	}
	p := page{more: response.More, reset: response.Reset_ != nil}
	p.cursor, _ = parseCursor(response.Cursor)
	if p.reset {
		f, err := newFrame("reset", response.Reset_.Cursor, response.Reset_)
		if err != nil {
			return page{}, err
		}
		p.frames = append(p.frames, f)
	}
	for _, n := range response.Notifications {
		f, err := notificationFrame(n)
		if err != nil {
			return page{}, err
		}
		p.frames, p.updateTime = append(p.frames, f), asTime(n.PublishTime)
	}
	return p, nil
}

func notificationFrame(n *notificationspb.Notification) (*frame, error) {
	return newFrame("notification", n.Id, n)
}

// notificationList is a ListNotificationsResponse, in the contract's field names, of
// notifications that are JSON already.
type notificationList struct {
	Notifications []json.RawMessage `json:"notifications"`
	NextPageToken string            `json:"next_page_token"`
	Cursor        string            `json:"cursor"`
	More          bool              `json:"more"`
	Reset         json.RawMessage   `json:"reset"`
}

func (inboxSource) pollBody(p page) ([]byte, error) {
	list := notificationList{Notifications: []json.RawMessage{}, Cursor: p.cursor.String(), More: p.more}
	for _, f := range p.frames {
		switch {
		case f.json == nil:
		case p.reset:
			list.Reset = f.json
		default:
			list.Notifications = append(list.Notifications, f.json)
		}
	}
	return json.Marshal(list)
}

func (s inboxSource) open(ctx context.Context) (upstream, error) {
	stream, err := s.client.StreamNotifications(ctx)
	return inboxUpstream{stream}, err
}

type inboxUpstream struct {
	notificationspb.Notifications_StreamNotificationsClient
}

func (u inboxUpstream) send(c subscriptionChange) error {
	if c.unsubscribe {
		return u.Send(&notificationspb.StreamNotificationsRequest{Change: &notificationspb.StreamNotificationsRequest_Unsubscribe_{
			Unsubscribe: &notificationspb.StreamNotificationsRequest_Unsubscribe{Subscription: c.id},
		}})
	}
	return u.Send(&notificationspb.StreamNotificationsRequest{Change: &notificationspb.StreamNotificationsRequest_Subscribe_{
		Subscribe: &notificationspb.StreamNotificationsRequest_Subscribe{Subscription: c.id, SessionToken: c.token},
	}})
}

func (u inboxUpstream) receive() (e upstreamEvent, err error) {
	response, err := u.Recv()
	if err != nil {
		return e, err
	}
	switch event := response.Event.(type) {
	case *notificationspb.StreamNotificationsResponse_Subscribed_:
		e.subscribed = event.Subscribed.Subscription
	case *notificationspb.StreamNotificationsResponse_Ended_:
		e.ended, e.endReason = event.Ended.Subscription, event.Ended.Reason
	case *notificationspb.StreamNotificationsResponse_Arrived_:
		e.recipients = event.Arrived.Subscriptions
		e.frame, e.invalid = notificationFrame(event.Arrived.Notification)
	case *notificationspb.StreamNotificationsResponse_Gap_:
		e.gap = true
	}
	return e, nil
}
