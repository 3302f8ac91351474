package notifications

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/caller"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

type service struct {
	notificationspb.UnimplementedNotificationsServer
	module *Module
}

// message returns the item as a protobuf message.
func (i item) message(epoch string) *notificationspb.Notification {
	m := &notificationspb.Notification{
		Id: cursor{epoch, i.arrival}.String(), Title: i.title, Channel: i.channel, ChannelTitle: i.channelTitle,
		PublishTime: timestamppb.New(i.published), Read: i.read, Failed: i.failed,
	}
	if i.account == 0 {
		m.Talk = i.subject
	} else {
		m.Operation = i.subject
	}
	return m
}

func messages(items []item, epoch string) []*notificationspb.Notification {
	all := make([]*notificationspb.Notification, len(items))
	for k, i := range items {
		all[k] = i.message(epoch)
	}
	return all
}

func (s service) GetInbox(ctx context.Context, _ *notificationspb.GetInboxRequest) (*notificationspb.GetInboxResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	newest, unread, err := s.module.store.inbox(ctx, person.ID)
	if err != nil {
		return nil, err
	}
	return &notificationspb.GetInboxResponse{UnreadCount: int32(unread), Cursor: newest.String()}, nil
}

func (s service) ListNotifications(ctx context.Context, r *notificationspb.ListNotificationsRequest) (*notificationspb.ListNotificationsResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	size := pageSize(r.PageSize)
	if r.After != "" {
		// Read one more item than the page holds to learn whether more follow.
		items, epoch, reset, err := s.module.listAfter(ctx, person.ID, r.After, size+1)
		if err != nil {
			return nil, err
		}
		response := &notificationspb.ListNotificationsResponse{Cursor: r.After, Reset_: reset}
		if response.More = len(items) > size; response.More {
			items = items[:size]
		}
		if reset != nil {
			response.Cursor = reset.Cursor
		} else if len(items) > 0 {
			response.Cursor = cursor{epoch, items[len(items)-1].arrival}.String()
		}
		response.Notifications = messages(items, epoch)
		return response, nil
	}
	before, err := parsePageToken(r.PageToken)
	if err != nil {
		return nil, err
	}
	epoch, err := s.module.epoch(ctx)
	if err != nil {
		return nil, err
	}
	items, err := s.module.store.itemsBefore(ctx, person.ID, before, size+1)
	if err != nil {
		return nil, err
	}
	response := &notificationspb.ListNotificationsResponse{}
	if len(items) > size {
		items = items[:size]
		response.NextPageToken = cursor{epoch, items[size-1].arrival}.String()
	}
	response.Notifications = messages(items, epoch)
	return response, nil
}

func (s service) MarkRead(ctx context.Context, r *notificationspb.MarkReadRequest) (*notificationspb.MarkReadResponse, error) {
	person, _ := caller.PersonFrom(ctx)
	if err := s.module.markRead(ctx, person.ID, r.Ids, r.Through); err != nil {
		return nil, err
	}
	_, unread, err := s.module.store.inbox(ctx, person.ID)
	if err != nil {
		return nil, err
	}
	return &notificationspb.MarkReadResponse{UnreadCount: int32(unread)}, nil
}
