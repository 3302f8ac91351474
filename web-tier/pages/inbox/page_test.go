package inbox_test

import (
	"context"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	"techtalks.example/web-tier/pages/inbox"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
)

func open(t *testing.T, items ...*notificationspb.Notification) *pagetest.Browser {
	b := pagetest.Open(t, false, map[string]ui.Handler{"GET /inbox": inbox.Show, "POST /inbox/read": inbox.Read})
	logictest.Answer(b.Logic, notificationspb.Notifications_ListNotifications_FullMethodName, func(context.Context, *notificationspb.ListNotificationsRequest) (*notificationspb.ListNotificationsResponse, error) {
		return &notificationspb.ListNotificationsResponse{Notifications: items}, nil
	})
	return b
}

func TestInboxRequiresSignIn(t *testing.T) {
	open(t).Get("/inbox").RedirectsTo("/sign-in?next=%2Finbox")
	open(t).With("over").Get("/inbox").RedirectsTo("/sign-in?next=%2Finbox")
}

// The list and the cursor are fetched concurrently. A stream from the cursor would lose the
// notifications that arrived in between.
func TestInboxStreamStartsAtNewestListedItem(t *testing.T) {
	item := &notificationspb.Notification{Id: "epoch-3", Talk: "channels/go/talks/one", Title: "<i>One</i>", Channel: "channels/go", ChannelTitle: "Go", PublishTime: timestamppb.Now()}
	open(t, item).With(logictest.Session).Get("/inbox").Is(200, `data-inbox-cursor="epoch-3"`, "&lt;i&gt;One", `name="through" value="epoch-3"`)
	open(t).With(logictest.Session).Get("/inbox").Is(200, `data-inbox-cursor="epoch-0"`)
}

func TestInboxShowsOutcomeOfFinishedOperations(t *testing.T) {
	open(t,
		&notificationspb.Notification{Id: "epoch-2", Operation: "operations/two", Title: "Import of <talks>", Failed: true, PublishTime: timestamppb.Now()},
		&notificationspb.Notification{Id: "epoch-1", Operation: "operations/one", Title: "Export", PublishTime: timestamppb.Now()},
	).With(logictest.Session).Get("/inbox").Is(200, `href="/operations/two"`, "Import of &lt;talks&gt;", `<span class="state failed" data-state>Failed`,
		`href="/operations/one"`, `<span class="state succeeded" data-state>Done`, `id="inbox-operation"`)
}

func TestMarkReadSendsSelectedIDs(t *testing.T) {
	b := open(t).With(logictest.Session)
	logictest.Answer(b.Logic, notificationspb.Notifications_MarkRead_FullMethodName, func(context.Context, *notificationspb.MarkReadRequest) (*notificationspb.MarkReadResponse, error) {
		return &notificationspb.MarkReadResponse{}, nil
	})
	b.Post("/inbox/read", url.Values{"id": {"epoch-1", "epoch-2"}}).RedirectsTo("/inbox")
	b.Post("/inbox/read", url.Values{"through": {"epoch-3"}}).RedirectsTo("/inbox")
	calls := b.Logic.Calls(notificationspb.Notifications_MarkRead_FullMethodName)
	one, all := calls[0].Request.(*notificationspb.MarkReadRequest), calls[1].Request.(*notificationspb.MarkReadRequest)
	if strings.Join(one.Ids, " ") != "epoch-1 epoch-2" || one.Through != "" || len(all.Ids) != 0 || all.Through != "epoch-3" {
		t.Errorf("got requests %v and %v, want the two ids, then all through epoch-3", one, all)
	}
}
