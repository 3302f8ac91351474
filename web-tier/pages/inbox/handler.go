// Package inbox serves the account's notifications: talks published by followed channels, and
// finished operations.
package inbox

import (
	"context"
	"net/http"
	"strings"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	"techtalks.example/web-tier/pages/ui"
)

// Show shows the inbox, newest first.
func Show(v *ui.PageContext) error {
	var response *notificationspb.ListNotificationsResponse
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		response, err = v.Site.Tier.Notifications.ListNotifications(ctx, &notificationspb.ListNotificationsRequest{
			PageToken: v.Request.URL.Query().Get("page_token"),
		})
		return err
	}); err != nil {
		return err
	}
	firstPage := v.Request.URL.Query().Get("page_token") == ""
	if firstPage {
		v.Cursor = listCursor(v.Cursor, response.Notifications)
	}
	return v.Render(http.StatusOK, page(v, response, firstPage))
}

// listCursor returns the cursor of the newest item in the list. The cursor of the page was
// fetched concurrently with the list and can be ahead of it: a stream that starts there would
// skip the notifications in between.
func listCursor(cursor string, items []*notificationspb.Notification) string {
	if len(items) > 0 {
		return items[0].Id
	}
	epoch, _, _ := strings.Cut(cursor, "-")
	return epoch + "-0"
}

// subject returns the resource name of what n is about: an operation or a talk.
func subject(n *notificationspb.Notification) string {
	if n.Operation != "" {
		return n.Operation
	}
	return n.Talk
}

// outcomeClass and outcome return the CSS class and the label of a finished operation. live.js
// has the same ones.
func outcomeClass(n *notificationspb.Notification) string {
	if n.Failed {
		return "failed"
	}
	return "succeeded"
}

func outcome(n *notificationspb.Notification) string {
	if n.Failed {
		return "Failed"
	}
	return "Done"
}

// Read marks notifications as read.
func Read(v *ui.PageContext) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	if _, err := v.Site.Tier.Notifications.MarkRead(v.Context(), &notificationspb.MarkReadRequest{
		Ids: v.Request.PostForm["id"], Through: v.Request.PostFormValue("through"),
	}); err != nil {
		return err
	}
	return v.Redirect("/inbox")
}
