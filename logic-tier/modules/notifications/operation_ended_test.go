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

// A finished operation appears once in its account's inbox, and in no other.
func TestFinishedOperationIsDeliveredToItsAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t, map[int64]accountRange{1: {1, 2}})
	r := s.start()
	s.publish(r.engine, 1, "a talk")
	s.waitForFanOuts()
	operationsDB := s.database.Open("operations")
	for range 2 {
		if err := operationsDB.InTransaction(t.Context(), func(tx *postgres.Tx) error {
			_, err := r.engine.Publish(t.Context(), tx, queue.Message{
				Exchange: work.Exchange, RoutingKey: work.Ended, Type: work.Ended,
				Body: &operationspb.OperationEnded{Operation: "operations/o", AccountId: 1, Title: "An import", EndTime: timestamppb.Now()},
			})
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	s.waitForFanOuts()
	page, err := r.ListNotifications(asAccount(t.Context(), 1), &notificationspb.ListNotificationsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(page.Notifications) != 2 {
		t.Fatalf("got inbox %v, want 2 items", page.Notifications)
	}
	operation, talk := page.Notifications[0], page.Notifications[1]
	if operation.Operation != "operations/o" || operation.Title != "An import" || !operation.Failed || operation.Talk != "" {
		t.Errorf("got operation item %v", operation)
	}
	if talk.Talk == "" || talk.Operation != "" || talk.Failed {
		t.Errorf("got talk item %v", talk)
	}
	if ids, _ := s.inbox(r, 2); len(ids) != 1 {
		t.Errorf("another account: got items %v, want 1", ids)
	}
}
