package live

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/web-tier/platform/logictest"
)

// News may be in the replay, arrive during it, or arrive later.
func TestLongPollReturnsNewsOnce(t *testing.T) {
	inbox := newFakeInbox(t)
	inbox.addSilently("missed")
	w := serveInbox(t, inbox)
	if titles, list := decodeItems(t, w.get(t, "/wait?after=epoch-0")); !slices.Equal(titles, []string{"missed"}) || list.Cursor != "epoch-1" {
		t.Fatalf("replayed: got %v", list)
	}
	inbox.mu.Lock()
	inbox.duringRead = func() { inbox.deliver("meanwhile") }
	inbox.mu.Unlock()
	if titles, list := decodeItems(t, w.get(t, "/wait", "If-None-Match", `"epoch-1"`)); !slices.Equal(titles, []string{"meanwhile"}) || list.Cursor != "epoch-2" {
		t.Fatalf("during the replay: got %v", list)
	}
	poll := w.getAsync(t.Context(), "/wait?after=epoch-2")
	waitUntil(t, "the long poll waits", func() bool { return inbox.subscriberCount() == 1 })
	inbox.deliver("later")
	got := awaitResponse(t, poll)
	if titles, list := decodeItems(t, got); !slices.Equal(titles, []string{"later"}) || list.Cursor != "epoch-3" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("live: got %v", list)
	}
}

// Earlier events are not news to a client without a cursor.
func TestLongPollWithoutCursorStartsWithLatest(t *testing.T) {
	t.Run("inbox", func(t *testing.T) {
		inbox := newFakeInbox(t)
		inbox.addSilently("before")
		w := serveInbox(t, inbox)
		poll := w.getAsync(t.Context(), "/wait")
		waitUntil(t, "the long poll waits", func() bool { return inbox.subscriberCount() == 1 && len(inbox.tier.Calls("")) == 1 })
		inbox.deliver("after")
		if titles, _ := decodeItems(t, awaitResponse(t, poll)); !slices.Equal(titles, []string{"after"}) {
			t.Errorf("got %v", titles)
		}
	})
	t.Run("operation", func(t *testing.T) {
		op := newFakeOperation(t)
		w := serveOperation(t, op)
		poll := w.getAsync(t.Context(), "/wait", "If-None-Match", "*")
		op.awaitSubscribers(t, 1, 1)
		op.update(5)
		if got := awaitResponse(t, poll); got.header.Get("ETag") != `"epoch-2"` {
			t.Errorf("got %d, ETag %s", got.status, got.header.Get("ETag"))
		}
	})
}

// The first replay after the upstream is lost fails and is retried.
func TestLongPollMissesNothingWhenUpstreamIsLost(t *testing.T) {
	inbox := newFakeInbox(t)
	w := serveInbox(t, inbox)
	poll := w.getAsync(t.Context(), "/wait?after=epoch-0&timeout=60s")
	waitUntil(t, "the long poll waits", func() bool { return inbox.subscriberCount() == 1 && len(inbox.tier.Calls("")) == 1 })
	inbox.mu.Lock()
	inbox.failReads = 6 // more than the call's retries
	inbox.mu.Unlock()
	inbox.breakStream()
	inbox.addSilently("meanwhile")
	if titles, _ := decodeItems(t, awaitResponse(t, poll)); !slices.Equal(titles, []string{"meanwhile"}) {
		t.Errorf("got %v", titles)
	}
}

// The logic tier rejects subscriptions while its database restarts.
func TestLongPollRetriesTransientRejection(t *testing.T) {
	inbox := newFakeInbox(t)
	inbox.deliver("first")
	inbox.mu.Lock()
	inbox.rejectSubscriptions = 1
	inbox.mu.Unlock()
	got := serveInbox(t, inbox).get(t, "/wait?after=epoch-0&timeout=10s")
	if got.status != http.StatusOK || !strings.Contains(string(got.body), "first") {
		t.Errorf("got %d %s, want 200 with first", got.status, got.body)
	}
}

func TestOperationUpdateIsNotMissedWhenUpstreamIsLost(t *testing.T) {
	op := newFakeOperation(t)
	w := serveOperation(t, op)
	poll, b := w.getAsync(t.Context(), "/wait?after=epoch-1&timeout=60s"), w.open(t, "epoch-1")
	op.awaitSubscribers(t, 2, 2)
	op.breakStream()
	op.updateSilently(50)
	if got := awaitResponse(t, poll); got.header.Get("ETag") != `"epoch-2"` {
		t.Errorf("got %d, ETag %s", got.status, got.header.Get("ETag"))
	}
	if e := nextOperation(t, b); e.id != "epoch-2" {
		t.Errorf("stream: got %+v, want id epoch-2", e)
	}
}

// A restored database starts another epoch.
func TestLongPollReturnsWhenEpochChanges(t *testing.T) {
	op := newFakeOperation(t)
	w := serveOperation(t, op)
	poll := w.getAsync(t.Context(), "/wait?after=epoch-1")
	op.awaitSubscribers(t, 1, 1)
	op.mu.Lock()
	op.epoch, op.revision = "restored", 0
	op.mu.Unlock()
	op.update(7)
	if got := awaitResponse(t, poll); got.header.Get("ETag") != `"restored-1"` {
		t.Errorf("got %d, ETag %s", got.status, got.header.Get("ETag"))
	}
}

func TestLongPollUnsubscribesWhenClientDisconnects(t *testing.T) {
	op := newFakeOperation(t)
	w := serveOperation(t, op)
	ctx, disconnect := context.WithCancel(t.Context())
	poll := w.getAsync(ctx, "/wait?after=epoch-1&timeout=60s")
	op.awaitSubscribers(t, 1, 1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.Collector("live_operation"))
	if got := gaugeValue(t, registry, "live_operation_waiters"); got != 1 {
		t.Errorf("live_operation_waiters: got %v, want 1", got)
	}
	disconnect()
	awaitResponse(t, poll)
	waitUntil(t, "the long poll is unsubscribed", func() bool { return op.subscriberCount() == 0 })
	if got := gaugeValue(t, registry, "live_operation_waiters"); got != 0 {
		t.Errorf("live_operation_waiters: got %v, want 0", got)
	}
}

func gaugeValue(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// Draining also ends long polls that start meanwhile.
func TestDrainEndsLongPollsWithRetryAfter(t *testing.T) {
	op := newFakeOperation(t)
	w := serveOperation(t, op)
	var polls [20]<-chan pollResponse
	for i := range polls {
		polls[i] = w.getAsync(t.Context(), "/wait?after=epoch-1&timeout=60s")
	}
	op.awaitSubscribers(t, len(polls), len(polls))
	w.Drain()
	delays := map[string]bool{}
	check := func(got pollResponse) {
		t.Helper()
		retryAfter := got.header.Get("Retry-After")
		seconds, err := strconv.Atoi(retryAfter)
		if got.status != http.StatusNoContent || err != nil || seconds < 1 || seconds > int(drainSpread.Seconds()) {
			t.Errorf("got %d, Retry-After %q, want 204 and 1 to 5", got.status, retryAfter)
		}
		delays[retryAfter] = true
	}
	for _, poll := range polls {
		got := awaitResponse(t, poll)
		check(got)
		if got.header.Get("ETag") != `"epoch-1"` {
			t.Errorf("got ETag %s, want epoch-1", got.header.Get("ETag"))
		}
	}
	check(w.get(t, "/wait?after=epoch-1"))
	if len(delays) < 2 {
		t.Errorf("21 long polls have only these delays: %v", delays)
	}
}

func TestLongPollIsRejectedWhenFeedIsFull(t *testing.T) {
	w := serveInbox(t, newFakeInbox(t))
	for n := range maxSubscribers {
		if w.add(w.newSubscriber(fmt.Sprint("session ", n), "", "", true)) != nil {
			t.Fatal("the feed is full below its limit")
		}
	}
	t.Cleanup(func() {
		for _, sub := range w.subscribers {
			w.remove(sub)
		}
	})
	got := w.get(t, "/wait")
	if checkProblem(t, got, http.StatusServiceUnavailable, ""); got.header.Get("Retry-After") != "5" {
		t.Errorf("got Retry-After %q, want 5", got.header.Get("Retry-After"))
	}
}

func TestLongPollWaitsForTimeoutOrPreference(t *testing.T) {
	for _, test := range []struct{ query, prefer, applied string }{
		{"", "", ""},
		{"?timeout=5s", "", ""},
		{"?timeout=5", "wait=50", ""},
		{"?timeout=90s", "", "wait=60"},
		{"?timeout=3600", "", "wait=60"},
		{"", "wait=10", "wait=10"},
		{"", `respond-async, WAIT="10"; x=y, wait=20`, "wait=10"},
		{"", "wait=99999999999", "wait=60"},
		{"", "wait=-1", ""},
		{"", "wait=soon", ""},
		{"", "wait", ""},
	} {
		want := map[string]time.Duration{"?timeout=5s": 5 * time.Second, "?timeout=5": 5 * time.Second, "": defaultWait}[test.query]
		if test.applied != "" {
			want, _ = time.ParseDuration(test.applied[len("wait="):] + "s")
		}
		synctest.Test(t, func(t *testing.T) {
			got, waited := waitIdle(t, test.query, test.prefer)
			if got.status != http.StatusNoContent || waited != want || got.header.Get("ETag") != `"epoch-1"` || len(got.body) > 0 {
				t.Errorf("%q, %q: got %d after %v, want 204 after %v", test.query, test.prefer, got.status, waited, want)
			}
			if applied := got.header.Get("Preference-Applied"); applied != test.applied {
				t.Errorf("%q, %q: got Preference-Applied %q, want %q", test.query, test.prefer, applied, test.applied)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		if got, waited := waitIdle(t, "?timeout=0", ""); got.status != http.StatusNoContent || waited != 0 {
			t.Errorf("got %d after %v, want 204 at once", got.status, waited)
		}
	})
}

// waitIdle returns the response to a long poll of an idle inbox, and how long it took.
func waitIdle(t *testing.T, query, prefer string) (pollResponse, time.Duration) {
	t.Helper()
	f := NewInbox(idleTier{}, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = f.Run(ctx)
	}()
	start := time.Now()
	got := record(func(w http.ResponseWriter, r *http.Request) { f.Wait(w, r, "session", "") },
		"/wait"+query, "If-None-Match", `"epoch-1"`, "Prefer", prefer)
	waited := time.Since(start)
	stop()
	<-stopped
	return got, waited
}

func TestLongPollRejectsInvalidTimeout(t *testing.T) {
	w := serveInbox(t, newFakeInbox(t))
	for _, timeout := range []string{"-1", "-1s", "", "soon", "1h1s", "8760h", "31536000", "99999999999999999999", "1e3", "NaN", "25x", "%00", "1s;"} {
		checkProblem(t, w.get(t, "/wait?timeout="+timeout), http.StatusBadRequest, "TIMEOUT_INVALID")
	}
}

// The answer differs from that of a timeout without news.
func TestLongPollFailsWhenLogicTierIsUnresponsive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewInbox(idleTier{unresponsive: true}, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			_ = f.Run(ctx)
		}()
		got := record(func(w http.ResponseWriter, r *http.Request) { f.Wait(w, r, "session", "") }, "/wait?after=epoch-1")
		if checkProblem(t, got, http.StatusServiceUnavailable, ""); got.header.Get("Retry-After") == "" {
			t.Error("got no Retry-After")
		}
		stop()
		<-stopped
	})
}

// The logic tier is not called without a session.
func TestEveryTransportRequiresSession(t *testing.T) {
	op := newFakeOperation(t)
	f := NewOperations(op.tier.Logic.Operations, op.tier.Logic.OperationStreams, slog.New(slog.DiscardHandler))
	for _, handler := range []func(http.ResponseWriter, *http.Request, string, string){f.Since, f.Wait, f.Stream} {
		checkProblem(t, record(func(w http.ResponseWriter, r *http.Request) { handler(w, r, "", operationName) }, "/"),
			http.StatusUnauthorized, "SESSION_REQUIRED")
	}
	if n := len(op.tier.Calls("")); n > 0 {
		t.Errorf("got %d calls, want none", n)
	}
}

// An expired read deadline would look as if the client had disconnected.
func TestLongPollOutlivesServerDeadlines(t *testing.T) {
	op := newFakeOperation(t)
	f := NewOperations(op.tier.Logic.Operations, op.tier.Logic.OperationStreams, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = f.Run(ctx)
	}()
	const deadline = 500 * time.Millisecond
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.Wait(w, r, logictest.Session, operationName)
	}))
	server.Config.ReadTimeout, server.Config.ReadHeaderTimeout, server.Config.WriteTimeout = deadline, testTimeout, deadline
	server.Start()
	t.Cleanup(func() {
		stop()
		<-stopped
		server.Close()
	})
	w := &testServer{url: server.URL}
	if got := w.get(t, "/?after=epoch-1&timeout=1500ms"); got.status != http.StatusNoContent || got.header.Get("ETag") != `"epoch-1"` {
		t.Errorf("got %d %s, want 204", got.status, got.body)
	}
}
