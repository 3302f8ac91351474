package notifications_test

import (
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/work"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// An operation that has ended is in its account's inbox, once, and in no other.
func TestOnesOwnOperationsAreToldOf(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[int64]crowd{1: {1, 2}})
	r := s.start()
	s.publish(r.engine, 1, "a talk")
	s.fannedOut()
	outside := s.database.Open("operations")
	for range 2 {
		if err := outside.InTransaction(t.Context(), func(tx *postgres.Tx) error {
			_, err := r.engine.Publish(t.Context(), tx, queue.Message{
				Exchange: work.Exchange, RoutingKey: work.Ended, Type: work.Ended,
				Body: &operationspb.OperationEnded{Operation: "operations/o", AccountId: 1, Title: "An import", EndTime: timestamppb.Now()},
			})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.fannedOut()
	page, err := r.ListNotifications(as(t.Context(), 1), &notificationspb.ListNotificationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Notifications) != 2 {
		t.Fatalf("the inbox has %v", page.Notifications)
	}
	operation, talk := page.Notifications[0], page.Notifications[1]
	if operation.Operation != "operations/o" || operation.Title != "An import" || !operation.Failed || operation.Talk != "" {
		t.Errorf("the operation is told of as %v", operation)
	}
	if talk.Talk == "" || talk.Operation != "" || talk.Failed {
		t.Errorf("the talk is told of as %v", talk)
	}
	if ids, _ := s.inbox(r, 2); len(ids) != 1 {
		t.Errorf("another account is told of %v", ids)
	}
}
