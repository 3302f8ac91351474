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

// A short poll begins with now, and goes on with the cursor, in the parameter or
// as an entity tag.
func TestAShortPollGoesOnFromItsCursor(t *testing.T) {
	in := newInbox(t)
	in.miss("before")
	w := newWeb(t, in)
	first := w.get(t, "/since")
	titles, answer := items(t, first)
	if len(titles) > 0 || answer.Cursor != "epoch-1" || first.header.Get("ETag") != `"epoch-1"` || first.header.Get("Cache-Control") != "private, no-cache" {
		t.Fatalf("it begins with %s %v", first.body, first.header)
	}
	for _, same := range []reply{w.get(t, "/since", "If-None-Match", `"epoch-1"`), w.get(t, "/since?after=epoch-1", "If-None-Match", `"epoch-1"`)} {
		if same.status != http.StatusNotModified || len(same.body) > 0 || same.header.Get("ETag") != `"epoch-1"` {
			t.Errorf("nothing came, and it is answered %d %s", same.status, same.body)
		}
	}
	if titles, answer := items(t, w.get(t, "/since?after=epoch-1")); len(titles) > 0 || answer.Cursor != "epoch-1" {
		t.Errorf("nothing came, and it is answered %v", answer)
	}
	in.miss("after 1")
	in.miss("after 2")
	for _, got := range []reply{w.get(t, "/since", "If-None-Match", `W/"epoch-1"`), w.get(t, "/since?after=epoch-1", "If-None-Match", `"epoch-1"`)} {
		if titles, answer := items(t, got); !slices.Equal(titles, []string{"after 1", "after 2"}) || answer.Cursor != "epoch-3" {
			t.Errorf("then %v", answer)
		}
	}
}

// A cursor that cannot be honoured is never passed over, not even when the client
// says that it has the answer.
func TestAPollWithACursorThatCannotBeHonouredIsReset(t *testing.T) {
	in := newInbox(t)
	in.miss("there already")
	w := newWeb(t, in)
	for _, after := range []string{"restored-1", "nonsense", "-", strings.Repeat("x", 5000)} {
		for _, path := range []string{"/since", "/wait"} {
			got := w.get(t, path+"?after="+after, "If-None-Match", `"epoch-1"`)
			_, answer := items(t, got)
			if answer.Reset_.GetCursor() != "epoch-1" || answer.Cursor != "epoch-1" || got.header.Get("ETag") != `"epoch-1"` {
				t.Errorf("%s after %.20q: %s", path, after, got.body)
			}
		}
	}
	// A stream, too, is not kept waiting with a cursor that nobody takes.
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

// A page that there is more after says so, and is not told to wait.
func TestAShortPollOfMuchComesPageByPage(t *testing.T) {
	in := newInbox(t)
	want := numbered(1, replayPage+50)
	for _, title := range want {
		in.miss(title)
	}
	w := newWeb(t, in)
	got := w.get(t, "/since?after=epoch-0", "If-None-Match", `"epoch-200"`)
	titles, answer := items(t, got)
	if len(titles) != replayPage || !answer.More || got.header.Get("Retry-After") != "" {
		t.Fatalf("%d come, more: %v, again in %q", len(titles), answer.More, got.header.Get("Retry-After"))
	}
	rest, answer := items(t, w.get(t, "/since?after="+answer.Cursor))
	if !slices.Equal(append(titles, rest...), want) || answer.More {
		t.Errorf("then %d, more: %v", len(rest), answer.More)
	}
}

// The longer nothing came, the later one is to ask again; of that no state is
// kept but what the client sends back.
func TestAQuietInboxIsAskedLessOften(t *testing.T) {
	in := newInbox(t)
	w := newWeb(t, in)
	again := func(got reply) int {
		seconds, err := strconv.Atoi(got.header.Get("Retry-After"))
		if err != nil {
			t.Fatal(err)
		}
		return seconds
	}
	now := w.get(t, "/since")
	if got := again(now); got != int(soonPoll.Seconds()) {
		t.Errorf("at the beginning: again in %d s", got)
	}
	if got := again(w.get(t, "/since?after=epoch-0", "If-Modified-Since", now.header.Get("Last-Modified"))); got != int(soonPoll.Seconds()) {
		t.Errorf("soon after: again in %d s", got)
	}
	long := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	if got := again(w.get(t, "/since?after=epoch-0", "If-Modified-Since", long, "If-None-Match", `"epoch-0"`)); got != int(latePoll.Seconds()) {
		t.Errorf("an hour after: again in %d s", got)
	}
	in.mu.Lock()
	in.items = append(in.items, &notificationspb.Notification{Id: "epoch-1", Title: "fresh", PublishTime: timestamppb.Now()})
	in.mu.Unlock()
	if got := again(w.get(t, "/since?after=epoch-0", "If-Modified-Since", long)); got != int(soonPoll.Seconds()) {
		t.Errorf("after news: again in %d s", got)
	}
}

func TestAskAgain(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name          string
		changed, ends time.Duration
		want          time.Duration
	}{
		{"it changed just now", 0, 0, 2 * time.Second},
		{"it changed a minute ago", -time.Minute, 0, 6 * time.Second},
		{"it changed an hour ago", -time.Hour, 0, 15 * time.Second},
		{"it changes, and lasts some minutes", 0, 2 * time.Minute, 6 * time.Second},
		{"it changes, and lasts for hours", 0, 2 * time.Hour, 15 * time.Second},
		{"it should be over by now", -time.Second, -time.Minute, 2 * time.Second},
	} {
		if got := askAgain(now, now.Add(test.changed), now.Add(test.ends)); got != test.want {
			t.Errorf("%s: again in %v, want %v", test.name, got, test.want)
		}
	}
	if got := askAgain(now, time.Time{}, time.Time{}); got != somePoll {
		t.Errorf("nobody knows: again in %v", got)
	}
}

// More short polls than there is room for are sent away at once.
func TestMoreShortPollsThanThereIsRoomFor(t *testing.T) {
	w := newWeb(t, newInbox(t))
	var release func()
	for n := range maxPolls {
		var err error
		if release, err = w.polls.Acquire(logicclient.Caller{Address: fmt.Sprint("address ", n)}); err != nil {
			t.Fatal(err)
		}
	}
	got := w.get(t, "/since")
	if problem(t, got, http.StatusServiceUnavailable, ""); got.header.Get("Retry-After") != "5" {
		t.Errorf("again in %q", got.header.Get("Retry-After"))
	}
	release()
	if got := w.get(t, "/since"); got.status != http.StatusOK {
		t.Errorf("with room again: %d %s", got.status, got.body)
	}
}

func TestAPollThatCannotBeAnsweredJustNow(t *testing.T) {
	in := newInbox(t)
	in.failReads = 100 // more than a call is made
	got := newWeb(t, in).get(t, "/since?after=epoch-0")
	if problem(t, got, http.StatusServiceUnavailable, "DATABASE_UNAVAILABLE"); got.header.Get("Retry-After") == "" {
		t.Error("it does not say when to ask again")
	}
}
