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

// filled is a site where account 1 has so many items, titled 0, 1, 2 …
func filled(t *testing.T, items int) (*site, *replica, []string) {
	t.Helper()
	s := newSite(t, map[int64]crowd{1: {1, 2}})
	r := s.start()
	for i := range items {
		s.publish(r.engine, 1, fmt.Sprint(i))
		s.fannedOut()
	}
	ids, _ := s.inbox(r, 1)
	if len(ids) != items {
		t.Fatalf("%d items, want %d", len(ids), items)
	}
	return s, r, ids
}

func TestAnInboxIsReadFromTheNewestAPageAtATime(t *testing.T) {
	t.Parallel()
	s, r, _ := filled(t, 5)
	var titles []string
	for token, first := "", true; first || token != ""; first = false {
		page, err := r.ListNotifications(as(t.Context(), 1), &notificationspb.ListNotificationsRequest{PageSize: 2, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range page.Notifications {
			titles = append(titles, n.Title)
		}
		token = page.NextPageToken
	}
	if got := strings.Join(titles, ""); got != "43210" {
		t.Errorf("pages are of %s, want 43210", got)
	}
	if items, _ := s.inbox(r, 3); len(items) != 0 {
		t.Errorf("account 3 follows nothing and has %d items", len(items))
	}
}

func TestWhatIsReadIsNoLongerUnread(t *testing.T) {
	t.Parallel()
	s, r, ids := filled(t, 5)
	mark := func(request *notificationspb.MarkReadRequest) {
		t.Helper()
		if _, err := r.MarkRead(as(t.Context(), 1), request); err != nil {
			t.Fatal(err)
		}
	}
	check := func(want string) {
		t.Helper()
		page, err := r.ListNotifications(as(t.Context(), 1), &notificationspb.ListNotificationsRequest{})
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
			t.Errorf("unread are %q, want %q", got, want)
		}
		if got := s.unread(r, 1); got != len(want) {
			t.Errorf("the bell says %d, want %d", got, len(want))
		}
	}
	check("43210")
	mark(&notificationspb.MarkReadRequest{Ids: []string{ids[3]}})
	check("4210")
	mark(&notificationspb.MarkReadRequest{Ids: []string{ids[3]}}) // again
	check("4210")
	mark(&notificationspb.MarkReadRequest{Through: ids[1]})
	check("42")
	mark(&notificationspb.MarkReadRequest{Through: ids[0]}) // less than before
	check("42")
	// Beyond the end: what comes later is unread.
	epoch, _, _ := strings.Cut(ids[0], "-")
	mark(&notificationspb.MarkReadRequest{Through: epoch + "-999999"})
	check("")
	s.publish(r.engine, 1, "5")
	s.fannedOut()
	check("5")
	if got := s.unread(r, 2); got != 6 {
		t.Errorf("account 2 has %d unread, want 6: nobody reads for another", got)
	}
}

func TestAMadeUpCursorIsAnsweredWithAReset(t *testing.T) {
	t.Parallel()
	s, r, ids := filled(t, 3)
	epoch, _, _ := strings.Cut(ids[0], "-")
	if _, err := s.inside.Exec(`insert into notifications.reader (account, trimmed_through) values (1, $1)`, sequence(ids[1])); err != nil {
		t.Fatal(err)
	}
	for cursor, want := range map[string]notificationspb.Reset_Reason{
		"what is this":                 notificationspb.Reset_REASON_MALFORMED,
		"-1":                           notificationspb.Reset_REASON_MALFORMED,
		"zzzzzzzz-1":                   notificationspb.Reset_REASON_OTHER_EPOCH,
		epoch + "-9223372036854775807": notificationspb.Reset_REASON_AHEAD,
		ids[0]:                         notificationspb.Reset_REASON_TRIMMED,
	} {
		page, err := r.ListNotifications(as(t.Context(), 1), &notificationspb.ListNotificationsRequest{After: cursor})
		if err != nil {
			t.Errorf("%q: %v", cursor, err)
			continue
		}
		if page.Reset_.GetReason() != want || len(page.Notifications) > 0 {
			t.Errorf("%q is answered with %v and %d items, want a reset for %s", cursor, page.Reset_, len(page.Notifications), want)
		}
		if page.Reset_.GetCursor() != ids[2] {
			t.Errorf("%q: go on from %q, want the newest, %s", cursor, page.Reset_.GetCursor(), ids[2])
		}
	}
	if page, err := r.ListNotifications(as(t.Context(), 1), &notificationspb.ListNotificationsRequest{After: ids[1]}); err != nil || page.Reset_ != nil || len(page.Notifications) != 1 {
		t.Errorf("the edge of what was trimmed is no usable cursor: %v, %v", page, err)
	}
}

func TestAMadeUpIDIsAnInvalidArgument(t *testing.T) {
	t.Parallel()
	_, r, _ := filled(t, 0)
	for what, call := range map[string]func() error{
		"id": func() error {
			_, err := r.MarkRead(as(t.Context(), 1), &notificationspb.MarkReadRequest{Ids: []string{"x"}})
			return err
		},
		"through": func() error {
			_, err := r.MarkRead(as(t.Context(), 1), &notificationspb.MarkReadRequest{Through: "x"})
			return err
		},
		"page token": func() error {
			_, err := r.ListNotifications(as(t.Context(), 1), &notificationspb.ListNotificationsRequest{PageToken: "x"})
			return err
		},
	} {
		var refused *apperror.Failure
		if err := call(); !errors.As(err, &refused) || refused.Kind != apperror.Invalid {
			t.Errorf("%s: %v, want it refused as invalid", what, err)
		}
	}
}

func TestWhatArrivedWhileAwayIsReadInOrderThenLive(t *testing.T) {
	t.Parallel()
	s, r, ids := filled(t, 3)
	f := &follower{account: 1, cursor: ids[0]}
	followed := make(chan error, 1)
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	go func() { followed <- f.follow(ctx, r, 4) }()
	s.publish(r.engine, 1, "3")
	s.publish(r.engine, 1, "4")
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.titles[:2], []string{"1", "2"}) || len(f.titles) != 4 {
		t.Errorf("got %v, want 1 and 2, then the two new ones", f.titles)
	}
}

func TestALostConnectionToTheDatabaseIsAGap(t *testing.T) {
	t.Parallel()
	s, r, ids := filled(t, 1)
	f := &follower{account: 1, cursor: ids[0]}
	followed := make(chan error, 1)
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	go func() { followed <- f.follow(ctx, r, 2) }()
	s.publish(r.engine, 1, "1")
	s.until("the first live item", func() bool { return s.count(`select count(*) from queue.message`) == 0 })
	// Nobody listens while this arrives.
	if _, err := s.inside.Exec(`select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like 'LISTEN%notifications%'`); err != nil {
		t.Fatal(err)
	}
	s.publish(r.engine, 1, "2")
	if err := <-followed; err != nil || !slices.Equal(f.titles, []string{"1", "2"}) {
		t.Errorf("got %v, %v", f.titles, err)
	}
}

func TestAStreamWithoutASessionIsToldSo(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	r := s.start()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
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
	for _, token := range []string{"", "made up"} {
		if got := subscribe(token); got != "SESSION_INVALID" {
			t.Errorf("with the token %q the subscription ends with %q", token, got)
		}
	}
	// The stream serves the others all the same.
	if got := subscribe("session-of-1"); got != "" {
		t.Errorf("a good session's subscription ends with %q", got)
	}
}

func TestAReplicaThatStopsEndsItsStreams(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	r := s.start()
	ctx, done := context.WithTimeout(t.Context(), patience)
	defer done()
	f := &follower{account: 1, cursor: s.cursor(r, 1)}
	followed := make(chan error, 1)
	go func() { followed <- f.follow(ctx, r, 1) }()
	s.until("the subscription", func() bool {
		return s.count(`select count(*) from pg_stat_activity where datname = current_database() and query like 'LISTEN%notifications%'`) == 1
	})
	r.stop()
	if err := <-followed; err == nil || !strings.Contains(err.Error(), "this server is stopping") {
		t.Errorf("the stream ended with %v, want it told that the server drains", err)
	}
}

// An inbox over its bound loses its oldest items, and says so.
func TestAnInboxIsTrimmedToItsBound(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	r := s.start()
	if _, err := s.inside.Exec(`
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
		t.Errorf("%d items are kept, want 1,000", got)
	}
	if got := s.count(`select min(arrival) from notifications.inbox where account = 1`); got != 201 {
		t.Errorf("the oldest item kept is %d, want 201", got)
	}
	if got := s.count(`select count(*) from notifications.inbox where account = 2`); got != 10 {
		t.Errorf("an inbox under its bound has %d items, want its 10", got)
	}
	page, err := r.ListNotifications(as(t.Context(), 1), &notificationspb.ListNotificationsRequest{After: s.epochOf(r) + "-150"})
	if err != nil || page.Reset_.GetReason() != notificationspb.Reset_REASON_TRIMMED {
		t.Errorf("a cursor before the trimmed edge is answered with %v, %v", page, err)
	}
}

func (s *site) epochOf(r *replica) string {
	epoch, _, _ := strings.Cut(s.cursor(r, 1), "-")
	return epoch
}
