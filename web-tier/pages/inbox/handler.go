// Package inbox shows what the channels that somebody follows have published, and
// what became of their own long work.
package inbox

import (
	"context"
	"net/http"
	"strings"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	"techtalks.example/web-tier/pages/ui"
)

// Show shows the inbox, the newest first.
func Show(v *ui.Visit) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	var answer *notificationspb.ListNotificationsResponse
	if err := v.Gather(func(ctx context.Context) (err error) {
		answer, err = v.Site.Tier.Notifications.ListNotifications(ctx, &notificationspb.ListNotificationsRequest{
			PageToken: v.Request.URL.Query().Get("page_token"),
		})
		return err
	}); err != nil {
		return err
	}
	fresh := v.Request.URL.Query().Get("page_token") == ""
	if fresh {
		v.Cursor = reached(v.Cursor, answer.Notifications)
	}
	return v.Render(http.StatusOK, page(v, answer, fresh))
}

// reached returns the cursor that the list itself has reached. The page's own
// was read beside the list, and may be ahead of it: what lies between would
// never be shown.
func reached(cursor string, list []*notificationspb.Notification) string {
	if len(list) > 0 {
		return list[0].Id
	}
	epoch, _, _ := strings.Cut(cursor, "-")
	return epoch + "-0"
}

// subject is what an item leads to.
func subject(n *notificationspb.Notification) string {
	if n.Operation != "" {
		return n.Operation
	}
	return n.Talk
}

// look and came say what became of an operation; the words are in live.js too.
func look(n *notificationspb.Notification) string {
	if n.Failed {
		return "failed"
	}
	return "succeeded"
}

func came(n *notificationspb.Notification) string {
	if n.Failed {
		return "Failed"
	}
	return "Done"
}

// Read marks items as read.
func Read(v *ui.Visit) error {
	if err := v.Form(); err != nil {
		return err
	}
	if !v.SignedIn() {
		return v.Redirect("/sign-in?next=/inbox")
	}
	if _, err := v.Site.Tier.Notifications.MarkRead(v.Context(), &notificationspb.MarkReadRequest{
		Ids: v.Request.PostForm["id"], Through: v.Request.PostFormValue("through"),
	}); err != nil {
		return err
	}
	return v.Redirect("/inbox")
}
