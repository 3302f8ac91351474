package notifications_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"techtalks.example/logic-tier/platform/apperror"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

// newFilledSite returns a site where account 1 has the given number of items, titled 0,
// 1, 2 …, a replica, and the items' ids.
func newFilledSite(t *testing.T, items int) (*site, *replica, []string) {
	t.Helper()
	s := newSite(t, map[int64]accountRange{1: {1, 2}})
	r := s.start()
	for i := range items {
		s.publish(r.engine, 1, fmt.Sprint(i))
		s.waitForFanOuts()
	}
	ids, _ := s.inbox(r, 1)
	if len(ids) != items {
		t.Fatalf("got %d items, want %d", len(ids), items)
	}
	return s, r, ids
}

func TestListNotificationsPagesFromNewestToOldest(t *testing.T) {
	t.Parallel()
	s, r, _ := newFilledSite(t, 5)
	var titles []string
	for token, first := "", true; first || token != ""; first = false {
		page, err := r.ListNotifications(asAccount(t.Context(), 1), &notificationspb.ListNotificationsRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range page.Notifications {
			titles = append(titles, n.Title)
		}
		token = page.NextPageToken
	}
	if got := strings.Join(titles, ""); got != "43210" {
		t.Errorf("got items %s, want 43210", got)
	}
	if items, _ := s.inbox(r, 3); len(items) != 0 {
		t.Errorf("account 3 follows no channel: got %d items, want 0", len(items))
	}
}

func TestMarkReadLowersUnreadCount(t *testing.T) {
	t.Parallel()
	s, r, ids := newFilledSite(t, 5)
	mark := func(request *notificationspb.MarkReadRequest) {
		t.Helper()
		if _, err := r.MarkRead(asAccount(t.Context(), 1), request); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want string) {
		t.Helper()
		page, err := r.ListNotifications(asAccount(t.Context(), 1), &notificationspb.ListNotificationsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		var unread []string
		for _, n := range page.Notifications {
			if !n.Read {
				unread = append(unread, n.Title)
			}
		}
		if got := strings.Join(unread, ""); got != want {
			t.Errorf("got unread items %q, want %q", got, want)
		}
		if got := s.unread(r, 1); got != len(want) {
			t.Errorf("got unread count %d, want %d", got, len(want))
		}
	}
	check("43210")
	mark(&notificationspb.MarkReadRequest{Ids: []string{ids[3]}})
	check("4210")
	mark(&notificationspb.MarkReadRequest{Ids: []string{ids[3]}}) // again
	check("4210")
	mark(&notificationspb.MarkReadRequest{Through: ids[1]})
	check("42")
	mark(&notificationspb.MarkReadRequest{Through: ids[0]}) // before the previous cursor
	check("42")
	// A cursor beyond the end does not mark later arrivals as read.
	epoch, _, _ := strings.Cut(ids[0], "-")
	mark(&notificationspb.MarkReadRequest{Through: epoch + "-999999"})
	check("")
	s.publish(r.engine, 1, "5")
	s.waitForFanOuts()
	check("5")
	if got := s.unread(r, 2); got != 6 {
		t.Errorf("account 2, which marked nothing as read: got %d unread, want 6", got)
	}
}

func TestListNotificationsReturnsResetForInvalidCursor(t *testing.T) {
	t.Parallel()
	s, r, ids := newFilledSite(t, 3)
	epoch, _, _ := strings.Cut(ids[0], "-")
	if _, err := s.superuser.Exec(`insert into notifications.reader (account, trimmed_through) values (1, $1)`, sequence(ids[1])); err != nil {
		t.Fatal(err)
	}
	for cursor, want := range map[string]notificationspb.Reset_Reason{
		"not a cursor":                 notificationspb.Reset_REASON_MALFORMED,
		"-1":                           notificationspb.Reset_REASON_MALFORMED,
		"zzzzzzzz-1":                   notificationspb.Reset_REASON_OTHER_EPOCH,
		epoch + "-9223372036854775807": notificationspb.Reset_REASON_AHEAD,
		ids[0]:                         notificationspb.Reset_REASON_TRIMMED,
	} {
		page, err := r.ListNotifications(asAccount(t.Context(), 1), &notificationspb.ListNotificationsRequest{After: cursor})
		if err != nil {
			t.Errorf("%q: %v", cursor, err)
			continue
		}
		if page.Reset_.GetReason() != want || len(page.Notifications) > 0 {
			t.Errorf("%q: got reset %v and %d items, want %s and none", cursor, page.Reset_, len(page.Notifications), want)
		}
		if page.Reset_.GetCursor() != ids[2] {
			t.Errorf("%q: got reset to cursor %q, want the newest, %q", cursor, page.Reset_.GetCursor(), ids[2])
		}
	}
	if page, err := r.ListNotifications(asAccount(t.Context(), 1), &notificationspb.ListNotificationsRequest{After: ids[1]}); err != nil || page.Reset_ != nil || len(page.Notifications) != 1 {
		t.Errorf("the last trimmed arrival as cursor: got %v, %v; want 1 item and no reset", page, err)
	}
}

func TestMalformedIDIsInvalidArgument(t *testing.T) {
	t.Parallel()
	_, r, _ := newFilledSite(t, 0)
	for name, call := range map[string]func() error{
		"id": func() error {
			_, err := r.MarkRead(asAccount(t.Context(), 1), &notificationspb.MarkReadRequest{Ids: []string{"x"}})
			return err
		},
		"through": func() error {
			_, err := r.MarkRead(asAccount(t.Context(), 1), &notificationspb.MarkReadRequest{Through: "x"})
			return err
		},
		"page token": func() error {
			_, err := r.ListNotifications(asAccount(t.Context(), 1), &notificationspb.ListNotificationsRequest{PageToken: "x"})
			return err
		},
	} {
		var failure *apperror.Failure
		if err := call(); !errors.As(err, &failure) || failure.Kind != apperror.Invalid {
			t.Errorf("%s: got %v, want kind %v", name, err, apperror.Invalid)
		}
	}
}

func TestClientReadsMissedItemsThenReceivesLiveOnes(t *testing.T) {
	t.Parallel()
	s, r, ids := newFilledSite(t, 3)
	f := &follower{account: 1, cursor: ids[0]}
	followed := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	go func() { followed <- f.follow(ctx, r, 4) }()
	s.publish(r.engine, 1, "3")
	s.publish(r.engine, 1, "4")
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.titles[:2], []string{"1", "2"}) || len(f.titles) != 4 {
		t.Errorf("got %v, want 1 and 2, then two live items", f.titles)
	}
}

func TestLostDatabaseConnectionCausesGap(t *testing.T) {
	t.Parallel()
	s, r, ids := newFilledSite(t, 1)
	f := &follower{account: 1, cursor: ids[0]}
	followed := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	go func() { followed <- f.follow(ctx, r, 2) }()
	s.publish(r.engine, 1, "1")
	s.waitFor("the first live item", func() bool { return s.count(`select count(*) from queue.message`) == 0 })
	// The next item arrives while the listener is disconnected.
	if _, err := s.superuser.Exec(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like 'LISTEN%notifications%'`); err != nil {
		t.Fatal(err)
	}
	s.publish(r.engine, 1, "2")
	if err := <-followed; err != nil || !slices.Equal(f.titles, []string{"1", "2"}) {
		t.Errorf("got %v, %v; want [1 2]", f.titles, err)
	}
}

func TestSubscriptionEndsWithoutValidSession(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	r := s.start()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	stream, err := r.client.StreamNotifications(ctx)
	if err != nil {
		t.Fatal(err)
	}
	subscribe := func(token string) string {
		t.Helper()
		if err := stream.Send(&notificationspb.StreamNotificationsRequest{Change: &notificationspb.StreamNotificationsRequest_Subscribe_{
			Subscribe: &notificationspb.StreamNotificationsRequest_Subscribe{Subscription: 1, SessionToken: token},
		}}); err != nil {
			t.Fatal(err)
		}
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return response.GetEnded().GetReason()
	}
	for _, token := range []string{"", "unknown"} {
		if got := subscribe(token); got != "SESSION_INVALID" {
			t.Errorf("token %q: got end reason %q, want SESSION_INVALID", token, got)
		}
	}
	// The stream still accepts other subscriptions.
	if got := subscribe("session-of-1"); got != "" {
		t.Errorf("valid session: got end reason %q, want none", got)
	}
}

func TestStreamsEndWhenReplicaStops(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	r := s.start()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	f := &follower{account: 1, cursor: s.cursor(r, 1)}
	followed := make(chan error, 1)
	go func() { followed <- f.follow(ctx, r, 1) }()
	s.waitFor("the subscription", func() bool {
		return s.count(`select count(*) from pg_stat_activity where datname = current_database() and query like 'LISTEN%notifications%'`) == 1
	})
	r.stop()
	if err := <-followed; err == nil || !strings.Contains(err.Error(), "this server is stopping") {
		t.Errorf("got stream error %v, want it to report that the server is stopping", err)
	}
}

// The sweep deletes the oldest items of an inbox over its limit. Cursors before the
// remaining items get a reset.
func TestSweepTrimsInboxToItsLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	r := s.start()
	if _, err := s.superuser.Exec(`
		insert into notifications.event (id, subject, title, channel, channel_title, publish_time, complete)
		overriding system value select n, 'channels/c/talks/'||n, n, 'channels/c', 'C', now(), true from generate_series(1, 1200) n;
		insert into notifications.inbox (account, arrival, event)
		select account, n, n from generate_series(1, 1200) n, unnest(array[1, 2]) account where account = 1 or n <= 10;
		select setval('notifications.arrival', 1200)`); err != nil {
		t.Fatal(err)
	}
	if err := r.module.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.count(`select count(*) from notifications.inbox where account = 1`); got != 1000 {
		t.Errorf("got %d items, want 1000", got)
	}
	if got := s.count(`select min(arrival) from notifications.inbox where account = 1`); got != 201 {
		t.Errorf("got oldest arrival %d, want 201", got)
	}
	if got := s.count(`select count(*) from notifications.inbox where account = 2`); got != 10 {
		t.Errorf("inbox under the limit: got %d items, want 10", got)
	}
	page, err := r.ListNotifications(asAccount(t.Context(), 1), &notificationspb.ListNotificationsRequest{After: s.epoch(r) + "-150"})
	if err != nil || page.Reset_.GetReason() != notificationspb.Reset_REASON_TRIMMED {
		t.Errorf("cursor before the trimmed items: got %v, %v; want a reset", page, err)
	}
}

func (s *site) epoch(r *replica) string {
	epoch, _, _ := strings.Cut(s.cursor(r, 1), "-")
	return epoch
}
