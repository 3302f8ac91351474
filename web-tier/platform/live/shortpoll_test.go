package live

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"

	"techtalks.example/web-tier/platform/logicclient"
)

// The cursor is the parameter or the entity tag.
func TestShortPollResumesFromCursor(t *testing.T) {
	inbox := newFakeInbox(t)
	inbox.addSilently("before")
	w := serveInbox(t, inbox)
	first := w.get(t, "/since")
	titles, list := decodeItems(t, first)
	if len(titles) > 0 || list.Cursor != "epoch-1" || first.header.Get("ETag") != `"epoch-1"` || first.header.Get("Cache-Control") != "private, no-cache" {
		t.Fatalf("first poll: got %s %v, want no titles and cursor epoch-1", first.body, first.header)
	}
	for _, got := range []pollResponse{w.get(t, "/since", "If-None-Match", `"epoch-1"`), w.get(t, "/since?after=epoch-1", "If-None-Match", `"epoch-1"`)} {
		if got.status != http.StatusNotModified || len(got.body) > 0 || got.header.Get("ETag") != `"epoch-1"` {
			t.Errorf("without news: got %d %s, want 304", got.status, got.body)
		}
	}
	if titles, list := decodeItems(t, w.get(t, "/since?after=epoch-1")); len(titles) > 0 || list.Cursor != "epoch-1" {
		t.Errorf("without news: got %v, want no titles and cursor epoch-1", list)
	}
	inbox.addSilently("after 1")
	inbox.addSilently("after 2")
	for _, got := range []pollResponse{w.get(t, "/since", "If-None-Match", `W/"epoch-1"`), w.get(t, "/since?after=epoch-1", "If-None-Match", `"epoch-1"`)} {
		if titles, list := decodeItems(t, got); !slices.Equal(titles, []string{"after 1", "after 2"}) || list.Cursor != "epoch-3" {
			t.Errorf("with news: got %v, want after 1 and after 2", list)
		}
	}
}

// A reset takes precedence over a matching entity tag.
func TestPollResetsInvalidCursor(t *testing.T) {
	inbox := newFakeInbox(t)
	inbox.addSilently("existing")
	w := serveInbox(t, inbox)
	for _, after := range []string{"restored-1", "nonsense", "-", strings.Repeat("x", 5000)} {
		for _, path := range []string{"/since", "/wait"} {
			got := w.get(t, path+"?after="+after, "If-None-Match", `"epoch-1"`)
			_, list := decodeItems(t, got)
			if list.Reset_.GetCursor() != "epoch-1" || list.Cursor != "epoch-1" || got.header.Get("ETag") != `"epoch-1"` {
				t.Errorf("%s with cursor %.20q: got %s, want a reset to epoch-1", path, after, got.body)
			}
		}
	}
	// A stream resets a cursor that the contract does not accept, too.
	b := w.open(t, strings.Repeat("x", 5000))
	for {
		e, err := b.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.name == "reset" {
			break
		}
	}
}

// A page that others follow has no Retry-After.
func TestShortPollReturnsSeveralPages(t *testing.T) {
	inbox := newFakeInbox(t)
	want := numbered(1, replayPage+50)
	for _, title := range want {
		inbox.addSilently(title)
	}
	w := serveInbox(t, inbox)
	got := w.get(t, "/since?after=epoch-0", "If-None-Match", `"epoch-200"`)
	titles, list := decodeItems(t, got)
	if len(titles) != replayPage || !list.More || got.header.Get("Retry-After") != "" {
		t.Fatalf("first page: got %d titles, more %v, Retry-After %q", len(titles), list.More, got.header.Get("Retry-After"))
	}
	rest, list := decodeItems(t, w.get(t, "/since?after="+list.Cursor))
	if !slices.Equal(append(titles, rest...), want) || list.More {
		t.Errorf("second page: got %d titles, more %v", len(rest), list.More)
	}
}

// The quiet time is known only from the client's If-Modified-Since.
func TestShortPollIntervalGrowsWhileInboxIsQuiet(t *testing.T) {
	inbox := newFakeInbox(t)
	w := serveInbox(t, inbox)
	retryAfter := func(got pollResponse) int {
		seconds, err := strconv.Atoi(got.header.Get("Retry-After"))
		if err != nil {
			t.Fatal(err)
		}
		return seconds
	}
	first := w.get(t, "/since")
	if got := retryAfter(first); got != int(minPollInterval.Seconds()) {
		t.Errorf("first poll: got Retry-After %d", got)
	}
	if got := retryAfter(w.get(t, "/since?after=epoch-0", "If-Modified-Since", first.header.Get("Last-Modified"))); got != int(minPollInterval.Seconds()) {
		t.Errorf("second poll: got Retry-After %d", got)
	}
	hourAgo := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	if got := retryAfter(w.get(t, "/since?after=epoch-0", "If-Modified-Since", hourAgo, "If-None-Match", `"epoch-0"`)); got != int(maxPollInterval.Seconds()) {
		t.Errorf("after a quiet hour: got Retry-After %d", got)
	}
	inbox.mu.Lock()
	inbox.items = append(inbox.items, &notificationspb.Notification{Id: "epoch-1", Title: "new", PublishTime: timestamppb.Now()})
	inbox.mu.Unlock()
	if got := retryAfter(w.get(t, "/since?after=epoch-0", "If-Modified-Since", hourAgo)); got != int(minPollInterval.Seconds()) {
		t.Errorf("after news: got Retry-After %d", got)
	}
}

func TestPollInterval(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name                    string
		updateTime, expectedEnd time.Duration // relative to now
		want                    time.Duration
	}{
		{"changed just now", 0, 0, 2 * time.Second},
		{"changed a minute ago", -time.Minute, 0, 6 * time.Second},
		{"changed an hour ago", -time.Hour, 0, 15 * time.Second},
		{"minutes left", 0, 2 * time.Minute, 6 * time.Second},
		{"hours left", 0, 2 * time.Hour, 15 * time.Second},
		{"expected end has passed", -time.Second, -time.Minute, 2 * time.Second},
	} {
		if got := pollInterval(now, now.Add(test.updateTime), now.Add(test.expectedEnd)); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
	if got := pollInterval(now, time.Time{}, time.Time{}); got != defaultPollInterval {
		t.Errorf("unknown update time: got %v, want %v", got, defaultPollInterval)
	}
}

func TestShortPollIsRejectedBeyondLimit(t *testing.T) {
	w := serveInbox(t, newFakeInbox(t))
	var release func()
	for n := range maxPolls {
		var err error
		if release, err = w.pollSlots.Acquire(logicclient.Caller{Address: fmt.Sprint("address ", n)}); err != nil {
			t.Fatal(err)
		}
	}
	got := w.get(t, "/since")
	if checkProblem(t, got, http.StatusServiceUnavailable, ""); got.header.Get("Retry-After") != "5" {
		t.Errorf("got Retry-After %q, want 5", got.header.Get("Retry-After"))
	}
	release()
	if got := w.get(t, "/since"); got.status != http.StatusOK {
		t.Errorf("after a slot was released: got %d %s, want 200", got.status, got.body)
	}
}

func TestShortPollReturnsRetryAfterWhenDatabaseIsUnavailable(t *testing.T) {
	inbox := newFakeInbox(t)
	inbox.failReads = 100 // more than the call's retries
	got := serveInbox(t, inbox).get(t, "/since?after=epoch-0")
	if checkProblem(t, got, http.StatusServiceUnavailable, "DATABASE_UNAVAILABLE"); got.header.Get("Retry-After") == "" {
		t.Error("got no Retry-After")
	}
}
