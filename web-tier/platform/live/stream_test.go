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

func numbered(from, to int) (titles []string) {
	for n := from; n <= to; n++ {
		titles = append(titles, fmt.Sprint("talk ", n))
	}
	return titles
}

// What was missed comes first, then what arrives; what arrives while the missed
// is read comes once, though it is both.
func TestReplayThenLive(t *testing.T) {
	in := newInbox(t)
	for _, title := range numbered(1, 5) {
		in.miss(title)
	}
	in.whileRead = func() {
		in.arrive("talk 6")
		in.arrive("talk 7")
	}
	b := newWeb(t, in).open(t, "epoch-3")
	if got, want := b.titles(4), numbered(4, 7); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	in.arrive("talk 8")
	if got := b.titles(1); got[0] != "talk 8" {
		t.Errorf("then %v", got)
	}
}

func TestALongReplayComesPageByPage(t *testing.T) {
	in := newInbox(t)
	want := numbered(1, 2*replayPage+50)
	for _, title := range want {
		in.miss(title)
	}
	if got := newWeb(t, in).open(t, "epoch-0").titles(len(want)); !slices.Equal(got, want) {
		t.Errorf("got %d titles from %v to %v", len(got), got[0], got[len(got)-1])
	}
}

// Without a cursor a stream begins with now, and says so: a connection that
// breaks before the first event goes on from there.
func TestANewStreamBeginsWithNow(t *testing.T) {
	in := newInbox(t)
	in.miss("before")
	b := newWeb(t, in).open(t, "")
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no",
	} {
		if got := b.response.Header.Get(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	var now event
	for now.id == "" {
		var err error
		if now, err = b.next(); err != nil {
			t.Fatal(err)
		}
	}
	if now != (event{id: "epoch-1"}) {
		t.Errorf("it begins with %+v", now)
	}
	in.arrive("after")
	if got := b.titles(1); got[0] != "after" {
		t.Errorf("then %v", got)
	}
}

func TestACursorThatCannotBeHonouredIsReset(t *testing.T) {
	in := newInbox(t)
	in.miss("there already")
	w := newWeb(t, in)
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
			t.Errorf("after %q: %+v", after, reset)
		}
		b.leave()
	}
}

func TestAGapIsReadAnew(t *testing.T) {
	in := newInbox(t)
	b := newWeb(t, in).open(t, "epoch-0")
	in.arrive("told")
	b.titles(1)
	in.miss("not told 1")
	in.miss("not told 2")
	in.gap()
	in.arrive("told again")
	if got, want := b.titles(3), []string{"not told 1", "not told 2", "told again"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The stream to the logic tier breaks; the browser's does not, and misses
// nothing. Reading what was missed fails at first.
func TestALostUpstreamLosesNothing(t *testing.T) {
	in := newInbox(t)
	w := newWeb(t, in)
	b := w.open(t, "epoch-0")
	in.arrive("before")
	b.titles(1)
	in.mu.Lock()
	in.failReads = 1
	in.mu.Unlock()
	in.loseStream()
	in.miss("meanwhile")
	until(t, "it follows again", func() bool { return in.following() == 1 })
	in.arrive("after")
	if got, want := b.titles(2), []string{"meanwhile", "after"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestASessionThatIsNotValidIsRefused(t *testing.T) {
	b := newWeb(t, newInbox(t)).open(t, "", "Session", "stolen")
	if b.response.StatusCode != http.StatusUnauthorized {
		t.Errorf("answered %s", b.response.Status)
	}
}

// A browser that goes is no longer followed for.
func TestABrowserThatGoesIsForgotten(t *testing.T) {
	in := newInbox(t)
	w := newWeb(t, in)
	b := w.open(t, "epoch-0")
	in.arrive("heard")
	b.titles(1)
	b.leave()
	until(t, "it is unsubscribed", func() bool { return in.following() == 0 })
	w.mu.RLock()
	defer w.mu.RUnlock()
	if len(w.readers) != 0 {
		t.Errorf("%d are left", len(w.readers))
	}
}

// Reading what was missed ends with the browser that missed it.
func TestABrowserThatGoesEndsItsReplay(t *testing.T) {
	in := newInbox(t)
	asked, over := make(chan struct{}), make(chan struct{})
	logictest.Answer(in.tier, notificationspb.Notifications_ListNotifications_FullMethodName,
		func(ctx context.Context, _ *notificationspb.ListNotificationsRequest) (*notificationspb.ListNotificationsResponse, error) {
			close(asked)
			<-ctx.Done()
			close(over)
			return nil, ctx.Err()
		})
	b := newWeb(t, in).open(t, "epoch-0")
	<-asked
	b.leave()
	<-over
}

// A browser that does not read is cut when its connection and its bound are
// full; it comes back and misses nothing. The others notice nothing.
func TestASlowReaderIsCutAndGoesOn(t *testing.T) {
	in := newInbox(t)
	w := newWeb(t, in)
	slow, quick := w.open(t, "epoch-0"), w.open(t, "epoch-0")
	until(t, "both are followed", func() bool { return in.following() == 2 })
	cut := func() bool {
		w.mu.RLock()
		defer w.mu.RUnlock()
		for _, r := range w.readers {
			r.mu.Lock()
			is := r.cut
			r.mu.Unlock()
			if is {
				return true
			}
		}
		return false
	}
	// A connection's own buffers take some megabytes.
	wide := strings.Repeat("x", 16<<10)
	sent := 0
	for !cut() {
		if sent > 100*maxPending {
			t.Fatal("it is not cut")
		}
		var want []string
		for range maxPending / 4 {
			want = append(want, fmt.Sprint(sent, " ", wide))
			in.arrive(want[len(want)-1])
			sent++
		}
		if got := quick.titles(len(want)); !slices.Equal(got, want) {
			t.Fatalf("the quick reader reads %.10s in the place of %.10s", got, want)
		}
	}
	if sent < maxPending {
		t.Errorf("cut after %d", sent)
	}
	read, last := 0, "epoch-0"
	for {
		e, err := slow.next()
		if err != nil {
			break // what was under way when it was cut is half there
		}
		if e.name == "notification" {
			read, last = read+1, e.id
		}
	}
	if want := fmt.Sprint("epoch-", read); last != want {
		t.Errorf("it read %d, the last %s", read, last)
	}
	rest := w.open(t, last).titles(sent - read)
	for n, title := range rest {
		if !strings.HasPrefix(title, fmt.Sprint(read+n, " ")) {
			t.Fatalf("after %s comes %.10s", last, title)
		}
	}
}

// At a stop every stream ends at once with a hint of when to come back, also
// one that comes meanwhile.
func TestDraining(t *testing.T) {
	in := newInbox(t)
	w := newWeb(t, in)
	b := w.open(t, "epoch-0")
	in.arrive("heard")
	b.titles(1)
	w.Drain()
	hints := map[string]bool{}
	for range 20 {
		hints[sentAway(t, b)] = true
		b = w.open(t, "epoch-1")
	}
	if len(hints) < 10 {
		t.Errorf("they come back together: %v", hints)
	}
}

// sentAway reads to the end of a stream and returns the last pause it named.
func sentAway(t *testing.T, b *browser) (retry string) {
	t.Helper()
	if b.response.StatusCode != http.StatusOK || !strings.HasPrefix(b.response.Header.Get("Content-Type"), "text/event-stream") {
		t.Fatalf("answered %s %s: the browser does not come back", b.response.Status, b.response.Header.Get("Content-Type"))
	}
	for {
		e, err := b.next()
		if errors.Is(err, io.EOF) {
			if retry == "" {
				t.Fatal("it ends without a hint")
			}
			return retry
		}
		if err != nil {
			t.Fatal(err)
		}
		retry = e.retry
	}
}

func TestMoreBrowsersThanThereIsRoomForAreSentAway(t *testing.T) {
	w := newWeb(t, newInbox(t))
	for n := range maxReaders {
		if w.add(w.newReader(fmt.Sprint("somebody ", n), "", "", false)) != nil {
			t.Fatal("no room below the bound")
		}
	}
	t.Cleanup(func() {
		for _, r := range w.readers {
			w.remove(r)
		}
	})
	if retry := sentAway(t, w.open(t, "")); retry != fmt.Sprint(busyRetry.Milliseconds()) {
		t.Errorf("it is to come back in %s ms", retry)
	}
}

func TestAnUpstreamThatTakesNothingIsGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := newOutbox(cancel)
	r := &reader{number: 1}
	for range maxOutbox {
		out.add(subscribe(r))
	}
	if ctx.Err() != nil {
		t.Fatal("given up below the bound")
	}
	out.add(subscribe(r))
	if ctx.Err() == nil {
		t.Error("not given up at the bound")
	}
	if len(out.queued) != maxOutbox {
		t.Errorf("%d wait", len(out.queued))
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
			t.Errorf("%q is %+v, and then %+v", text, c, again)
		}
	})
}
