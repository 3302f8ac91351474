package inbox_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	"techtalks.example/web-tier/pages/inbox"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
)

// A finished operation appears in the open inbox as it does after a reload, and as a toast on
// every other page. Failed operations are marked as such.
func TestFinishedOperationAppearsLive(t *testing.T) {
	events := make(chan string)
	b := pagetest.Open(t, false, map[string]ui.Handler{
		"GET /inbox": inbox.Show,
		"GET /other": func(v *ui.PageContext) error {
			if err := v.FetchAll(); err != nil {
				return err
			}
			return v.Render(http.StatusOK, ui.Layout(v, "Other"))
		},
		"GET /inbox/stream": func(v *ui.PageContext) error {
			v.Writer.Header().Set("Content-Type", "text/event-stream")
			control := http.NewResponseController(v.Writer)
			_ = control.Flush()
			for {
				select {
				case <-v.Request.Context().Done():
					return nil
				case event := <-events:
					fmt.Fprint(v.Writer, event)
					_ = control.Flush()
				}
			}
		},
	}).With(logictest.Session)
	logictest.Answer(b.Logic, notificationspb.Notifications_ListNotifications_FullMethodName, func(context.Context, *notificationspb.ListNotificationsRequest) (*notificationspb.ListNotificationsResponse, error) {
		return &notificationspb.ListNotificationsResponse{Notifications: []*notificationspb.Notification{
			{Id: "epoch-5", Talk: "channels/go/talks/one", Title: "One", Channel: "channels/go", ChannelTitle: "Go", PublishTime: timestamppb.Now()},
		}}, nil
	})
	event := func(sequence int, failed bool) string {
		return fmt.Sprintf("id: epoch-%d\nevent: notification\ndata: {\"id\":\"epoch-%[1]d\",\"talk\":\"\",\"channel\":\"\",\"channel_title\":\"\",\"title\":\"Import of talks\",\"operation\":\"operations/abc\",\"failed\":%v,\"publish_time\":\"2026-05-03T10:00:00Z\"}\n\n", sequence, failed)
	}
	tab := b.Tab()
	tab.Open("/inbox")
	events <- event(6, true)
	tab.Until(`document.querySelector("#inbox li.failed.unread a[href$='/operations/abc']")?.textContent === "Import of talks"`)
	tab.Until(`document.querySelector("#inbox li:first-child .state.failed").textContent === "Failed"`)
	events <- event(7, false)
	tab.Until(`document.querySelector("#inbox li:first-child:not(.failed) .state.succeeded").textContent === "Done"`)
	tab.Screenshot("inbox")
	tab.Open("/other")
	events <- event(8, true)
	tab.Until(`document.querySelector(".toast.failed a[href='/operations/abc']")`)
	tab.Screenshot("toast")
}
