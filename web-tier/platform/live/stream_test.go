package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	"techtalks.example/web-tier/platform/logictest"
)

func numbered(first, last int) (titles []string) {
	for n := first; n <= last; n++ {
		titles = append(titles, fmt.Sprint("talk ", n))
	}
	return titles
}

// Events that arrive during the replay are part of it and live, and are sent once.
func TestStreamReplaysThenDeliversLiveEvents(t *testing.T) {
	inbox := newFakeInbox(t)
	for _, title := range numbered(1, 5) {
		inbox.addSilently(title)
	}
	inbox.duringRead = func() {
		inbox.deliver("talk 6")
		inbox.deliver("talk 7")
	}
	b := serveInbox(t, inbox).open(t, "epoch-3")
	if got, want := b.titles(4), numbered(4, 7); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	inbox.deliver("talk 8")
	if got := b.titles(1); got[0] != "talk 8" {
		t.Errorf("live event: got %v, want talk 8", got)
	}
}

func TestStreamReplaysSeveralPages(t *testing.T) {
	inbox := newFakeInbox(t)
	want := numbered(1, 2*replayPage+50)
	for _, title := range want {
		inbox.addSilently(title)
	}
	if got := serveInbox(t, inbox).open(t, "epoch-0").titles(len(want)); !slices.Equal(got, want) {
		t.Errorf("got %d titles from %v to %v, want %d", len(got), got[0], got[len(got)-1], len(want))
	}
}

// Without a cursor a stream starts with the latest one, and sends it, so that a connection
// that breaks before the first event can resume.
func TestStreamWithoutCursorStartsWithLatest(t *testing.T) {
	inbox := newFakeInbox(t)
	inbox.addSilently("before")
	b := serveInbox(t, inbox).open(t, "")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no",
	} {
		if got := b.response.Header.Get(name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	var first event
	for first.id == "" {
		var err error
		if first, err = b.next(); err != nil {
			t.Fatal(err)
		}
	}
	if want := (event{id: "epoch-1"}); first != want {
		t.Errorf("first event: got %+v, want %+v", first, want)
	}
	inbox.deliver("after")
	if got := b.titles(1); got[0] != "after" {
		t.Errorf("got %v, want after", got)
	}
}

func TestStreamResetsInvalidCursor(t *testing.T) {
	inbox := newFakeInbox(t)
	inbox.addSilently("existing")
	w := serveInbox(t, inbox)
	for _, after := range []string{"restored-1", "nonsense", "epoch-99999999999999999999", "-", "epoch--1", strings.Repeat("x", 150) + "-1", "épöch-1", "%00-1"} {
		b := w.open(t, after)
		var reset event
		for reset.name == "" {
			var err error
			if reset, err = b.next(); err != nil {
				t.Fatal(err)
			}
		}
		if reset.name != "reset" || reset.id != "epoch-1" {
			t.Errorf("cursor %q: got %+v, want a reset to epoch-1", after, reset)
		}
		b.disconnect()
	}
}

func TestStreamReplaysAfterGap(t *testing.T) {
	inbox := newFakeInbox(t)
	b := serveInbox(t, inbox).open(t, "epoch-0")
	inbox.deliver("sent")
	b.titles(1)
	inbox.addSilently("missed 1")
	inbox.addSilently("missed 2")
	inbox.sendGap()
	inbox.deliver("sent after")
	if got, want := b.titles(3), []string{"missed 1", "missed 2", "sent after"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The first replay after the upstream is lost fails and is retried.
func TestStreamMissesNothingWhenUpstreamIsLost(t *testing.T) {
	inbox := newFakeInbox(t)
	w := serveInbox(t, inbox)
	b := w.open(t, "epoch-0")
	inbox.deliver("before")
	b.titles(1)
	inbox.mu.Lock()
	inbox.failReads = 1
	inbox.mu.Unlock()
	inbox.breakStream()
	inbox.addSilently("meanwhile")
	waitUntil(t, "the stream is subscribed again", func() bool { return inbox.subscriberCount() == 1 })
	inbox.deliver("after")
	if got, want := b.titles(2), []string{"meanwhile", "after"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStreamRejectsInvalidSession(t *testing.T) {
	b := serveInbox(t, newFakeInbox(t)).open(t, "", "Session", "invalid")
	if b.response.StatusCode != http.StatusUnauthorized {
		t.Errorf("got %s, want 401", b.response.Status)
	}
}

func TestStreamUnsubscribesWhenBrowserDisconnects(t *testing.T) {
	inbox := newFakeInbox(t)
	w := serveInbox(t, inbox)
	b := w.open(t, "epoch-0")
	inbox.deliver("received")
	b.titles(1)
	b.disconnect()
	waitUntil(t, "the stream is unsubscribed", func() bool { return inbox.subscriberCount() == 0 })
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.subscribers) != 0 {
		t.Errorf("got %d subscribers, want none", len(w.subscribers))
	}
}

func TestReplayIsCanceledWhenBrowserDisconnects(t *testing.T) {
	inbox := newFakeInbox(t)
	called, canceled := make(chan struct{}), make(chan struct{})
	logictest.Answer(inbox.tier, notificationspb.Notifications_ListNotifications_FullMethodName,
		func(ctx context.Context, _ *notificationspb.ListNotificationsRequest) (*notificationspb.ListNotificationsResponse, error) {
			close(called)
			<-ctx.Done()
			close(canceled)
			return nil, ctx.Err()
		})
	b := serveInbox(t, inbox).open(t, "epoch-0")
	<-called
	b.disconnect()
	<-canceled
}

// A browser that does not read is disconnected when its connection's buffers and its
// pending list are full. It resumes and misses nothing; other browsers are unaffected.
func TestSlowStreamIsDisconnectedAndResumes(t *testing.T) {
	inbox := newFakeInbox(t)
	w := serveInbox(t, inbox)
	slow, fast := w.open(t, "epoch-0"), w.open(t, "epoch-0")
	waitUntil(t, "both streams are subscribed", func() bool { return inbox.subscriberCount() == 2 })
	disconnected := func() bool {
		w.mu.RLock()
		defer w.mu.RUnlock()
		for _, sub := range w.subscribers {
			sub.mu.Lock()
			overflow := sub.overflow
			sub.mu.Unlock()
			if overflow {
				return true
			}
		}
		return false
	}
	// The connection's buffers hold some megabytes.
	padding := strings.Repeat("x", 16<<10)
	sent := 0
	for !disconnected() {
		if sent > 100*maxPending {
			t.Fatalf("the slow stream is still connected after %d events", sent)
		}
		var want []string
		for range maxPending / 4 {
			want = append(want, fmt.Sprint(sent, " ", padding))
			inbox.deliver(want[len(want)-1])
			sent++
		}
		if got := fast.titles(len(want)); !slices.Equal(got, want) {
			t.Fatalf("fast stream: got %.10s, want %.10s", got, want)
		}
	}
	if sent < maxPending {
		t.Errorf("disconnected after %d events, want at least %d", sent, maxPending)
	}
	read, last := 0, "epoch-0"
	for {
		e, err := slow.next()
		if err != nil {
			break // the last event may be incomplete
		}
		if e.name == "notification" {
			read, last = read+1, e.id
		}
	}
	if want := fmt.Sprint("epoch-", read); last != want {
		t.Errorf("read %d events: got last id %s, want %s", read, last, want)
	}
	resumed := w.open(t, last).titles(sent - read)
	for n, title := range resumed {
		if !strings.HasPrefix(title, fmt.Sprint(read+n, " ")) {
			t.Fatalf("resumed from %s: got %.10s, want %d", last, title, read+n)
		}
	}
}

// Draining also closes streams that open meanwhile.
func TestDrainClosesStreamsWithRetry(t *testing.T) {
	inbox := newFakeInbox(t)
	w := serveInbox(t, inbox)
	b := w.open(t, "epoch-0")
	inbox.deliver("received")
	b.titles(1)
	w.Drain()
	delays := map[string]bool{}
	for range 20 {
		delays[readRetry(t, b)] = true
		b = w.open(t, "epoch-1")
	}
	if len(delays) < 10 {
		t.Errorf("20 streams have only these retry delays: %v", delays)
	}
}

// readRetry reads to the end of a stream and returns its last retry delay.
func readRetry(t *testing.T, b *browser) (retry string) {
	t.Helper()
	if b.response.StatusCode != http.StatusOK || !strings.HasPrefix(b.response.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("got %s %s, with which a browser does not reconnect", b.response.Status, b.response.Header.Get("Content-Type"))
	}
	for {
		e, err := b.next()
		if errors.Is(err, io.EOF) {
			if retry == "" {
				t.Fatal("the stream ended without a retry delay")
			}
			return retry
		}
		if err != nil {
			t.Fatal(err)
		}
		retry = e.retry
	}
}

func TestStreamClosesWithRetryWhenFeedIsFull(t *testing.T) {
	w := serveInbox(t, newFakeInbox(t))
	for n := range maxSubscribers {
		if w.add(w.newSubscriber(fmt.Sprint("session ", n), "", "", false)) != nil {
			t.Fatal("the feed is full below its limit")
		}
	}
	t.Cleanup(func() {
		for _, sub := range w.subscribers {
			w.remove(sub)
		}
	})
	if got, want := readRetry(t, w.open(t, "")), fmt.Sprint(busyRetry.Milliseconds()); got != want {
		t.Errorf("retry: got %s ms, want %s", got, want)
	}
}

func TestSendQueueCancelsUpstreamOnOverflow(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	queue := newSendQueue(cancel)
	sub := &subscriber{id: 1}
	for range maxSendQueue {
		queue.add(subscribe(sub))
	}
	if ctx.Err() != nil {
		t.Fatal("canceled below the limit")
	}
	queue.add(subscribe(sub))
	if ctx.Err() == nil {
		t.Error("not canceled beyond the limit")
	}
	if len(queue.changes) != maxSendQueue {
		t.Errorf("got %d queued changes, want %d", len(queue.changes), maxSendQueue)
	}
}

func FuzzParseCursor(f *testing.F) {
	for _, text := range []string{"epoch-1", "a-b-3", "-1", "epoch-", "epoch--1", "e-9223372036854775808", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := parseCursor(text)
		if !ok {
			return
		}
		if again, ok := parseCursor(c.String()); !ok || again != c || c.sequence < 0 || c.epoch == "" {
			t.Errorf("%q: parsed %+v, and its string %+v", text, c, again)
		}
	})
}
