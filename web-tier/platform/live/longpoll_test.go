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

// A long poll is answered with what it missed, with what comes while it reads that,
// or with what comes later; each once.
func TestALongPollIsAnsweredWithNews(t *testing.T) {
	in := newInbox(t)
	in.miss("missed")
	w := newWeb(t, in)
	if titles, answer := items(t, w.get(t, "/wait?after=epoch-0")); !slices.Equal(titles, []string{"missed"}) || answer.Cursor != "epoch-1" {
		t.Fatalf("at first %v", answer)
	}
	in.mu.Lock()
	in.whileRead = func() { in.arrive("meanwhile") }
	in.mu.Unlock()
	if titles, answer := items(t, w.get(t, "/wait", "If-None-Match", `"epoch-1"`)); !slices.Equal(titles, []string{"meanwhile"}) || answer.Cursor != "epoch-2" {
		t.Fatalf("then %v", answer)
	}
	waiting := w.begin(t.Context(), "/wait?after=epoch-2")
	until(t, "it waits", func() bool { return in.following() == 1 })
	in.arrive("later")
	got := awaitReply(t, waiting)
	if titles, answer := items(t, got); !slices.Equal(titles, []string{"later"}) || answer.Cursor != "epoch-3" || got.header.Get("Cache-Control") != "no-store" {
		t.Errorf("then %v", answer)
	}
}

// Without a cursor it waits for the next that comes, and what was there before is
// no news.
func TestALongPollWithoutACursorBeginsWithNow(t *testing.T) {
	t.Run("inbox", func(t *testing.T) {
		in := newInbox(t)
		in.miss("before")
		w := newWeb(t, in)
		waiting := w.begin(t.Context(), "/wait")
		until(t, "it waits", func() bool { return in.following() == 1 && len(in.tier.Calls("")) == 1 })
		in.arrive("after")
		if titles, _ := items(t, awaitReply(t, waiting)); !slices.Equal(titles, []string{"after"}) {
			t.Errorf("it is answered with %v", titles)
		}
	})
	t.Run("operation", func(t *testing.T) {
		k := newWork(t)
		w := serveWork(t, k)
		waiting := w.begin(t.Context(), "/wait", "If-None-Match", "*")
		k.waiting(t, 1, 1)
		k.progress(5)
		if got := awaitReply(t, waiting); got.header.Get("ETag") != `"epoch-2"` {
			t.Errorf("it is answered %d %s", got.status, got.header.Get("ETag"))
		}
	})
}

// The stream to the logic tier breaks while somebody waits, and reading what was
// missed fails at first: nothing is missed.
func TestALostUpstreamLosesNothingForWhoWaits(t *testing.T) {
	in := newInbox(t)
	w := newWeb(t, in)
	waiting := w.begin(t.Context(), "/wait?after=epoch-0&timeout=60s")
	until(t, "it waits", func() bool { return in.following() == 1 && len(in.tier.Calls("")) == 1 })
	in.mu.Lock()
	in.failReads = 6 // more than a call is tried again by itself
	in.mu.Unlock()
	in.loseStream()
	in.miss("meanwhile")
	if titles, _ := items(t, awaitReply(t, waiting)); !slices.Equal(titles, []string{"meanwhile"}) {
		t.Errorf("it is answered with %v", titles)
	}
}

// Who waits need not be told that the database is restarted meanwhile.
func TestALongPollWaitsOutARefusalThatPasses(t *testing.T) {
	in := newInbox(t)
	in.arrive("first")
	in.mu.Lock()
	in.refuse = 1
	in.mu.Unlock()
	got := newWeb(t, in).get(t, "/wait?after=epoch-0&timeout=10s")
	if got.status != http.StatusOK || !strings.Contains(string(got.body), "first") {
		t.Errorf("answered with %d %s", got.status, got.body)
	}
}

func TestALostUpstreamLosesNothingOfAnOperation(t *testing.T) {
	k := newWork(t)
	w := serveWork(t, k)
	waiting, b := w.begin(t.Context(), "/wait?after=epoch-1&timeout=60s"), w.open(t, "epoch-1")
	k.waiting(t, 2, 2)
	k.loseStream()
	k.miss(50)
	if got := awaitReply(t, waiting); got.header.Get("ETag") != `"epoch-2"` {
		t.Errorf("it is answered %d %s", got.status, got.header.Get("ETag"))
	}
	if e := nextOperation(t, b); e.id != "epoch-2" {
		t.Errorf("the stream goes on with %+v", e)
	}
}

// A restored database counts in another epoch: who waits hears of it.
func TestAnotherEpochWhileWaiting(t *testing.T) {
	k := newWork(t)
	w := serveWork(t, k)
	waiting := w.begin(t.Context(), "/wait?after=epoch-1")
	k.waiting(t, 1, 1)
	k.mu.Lock()
	k.epoch, k.revision = "restored", 0
	k.mu.Unlock()
	k.progress(7)
	if got := awaitReply(t, waiting); got.header.Get("ETag") != `"restored-1"` {
		t.Errorf("it is answered %d %s", got.status, got.header.Get("ETag"))
	}
}

// A client that leaves is forgotten at once, here and in the logic tier.
func TestAWaiterThatLeavesIsForgotten(t *testing.T) {
	k := newWork(t)
	w := serveWork(t, k)
	ctx, leave := context.WithCancel(t.Context())
	waiting := w.begin(ctx, "/wait?after=epoch-1&timeout=60s")
	k.waiting(t, 1, 1)
	registry := prometheus.NewRegistry()
	registry.MustRegister(w.Collector("live_operation"))
	if got := gauge(t, registry, "live_operation_waiters"); got != 1 {
		t.Errorf("%v waiters are counted", got)
	}
	leave()
	awaitReply(t, waiting)
	until(t, "it is unsubscribed", func() bool { return k.following() == 0 })
	if got := gauge(t, registry, "live_operation_waiters"); got != 0 {
		t.Errorf("%v waiters are counted", got)
	}
}

func gauge(t *testing.T, registry *prometheus.Registry, name string) float64 {
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
	t.Fatalf("there is no metric %s", name)
	return 0
}

// At a stop whoever waits is released at once, with when to come back, and so is
// who comes meanwhile.
func TestDrainingReleasesWhoWaits(t *testing.T) {
	k := newWork(t)
	w := serveWork(t, k)
	var waiters [20]<-chan reply
	for i := range waiters {
		waiters[i] = w.begin(t.Context(), "/wait?after=epoch-1&timeout=60s")
	}
	k.waiting(t, len(waiters), len(waiters))
	w.Drain()
	hints := map[string]bool{}
	check := func(got reply) {
		t.Helper()
		hint := got.header.Get("Retry-After")
		seconds, err := strconv.Atoi(hint)
		if got.status != http.StatusNoContent || err != nil || seconds < 1 || seconds > int(drainSpread.Seconds()) {
			t.Errorf("answered %d, again in %q", got.status, hint)
		}
		hints[hint] = true
	}
	for _, waiter := range waiters {
		got := awaitReply(t, waiter)
		check(got)
		if got.header.Get("ETag") != `"epoch-1"` {
			t.Errorf("to go on from %s", got.header.Get("ETag"))
		}
	}
	check(w.get(t, "/wait?after=epoch-1"))
	if len(hints) < 2 {
		t.Errorf("they come back together: %v", hints)
	}
}

func TestMoreWaitersThanThereIsRoomForAreSentAway(t *testing.T) {
	w := newWeb(t, newInbox(t))
	for n := range maxReaders {
		if w.add(w.newReader(fmt.Sprint("somebody ", n), "", "", true)) != nil {
			t.Fatal("no room below the bound")
		}
	}
	t.Cleanup(func() {
		for _, r := range w.readers {
			w.remove(r)
		}
	})
	got := w.get(t, "/wait")
	if problem(t, got, http.StatusServiceUnavailable, ""); got.header.Get("Retry-After") != "5" {
		t.Errorf("again in %q", got.header.Get("Retry-After"))
	}
}

// How long to wait is said in the parameter, or as a preference; what makes no
// sense is an error that says what does.
func TestHowLongToWait(t *testing.T) {
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
			got, waited := quiet(t, test.query, test.prefer)
			if got.status != http.StatusNoContent || waited != want || got.header.Get("ETag") != `"epoch-1"` || len(got.body) > 0 {
				t.Errorf("%q, %q: answered %d after %v, want 204 after %v", test.query, test.prefer, got.status, waited, want)
			}
			if applied := got.header.Get("Preference-Applied"); applied != test.applied {
				t.Errorf("%q, %q: applied %q", test.query, test.prefer, applied)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		if got, waited := quiet(t, "?timeout=0", ""); got.status != http.StatusNoContent || waited != 0 {
			t.Errorf("answered %d after %v, want 204 at once", got.status, waited)
		}
	})
}

// quiet waits for what never comes.
func quiet(t *testing.T, query, prefer string) (reply, time.Duration) {
	t.Helper()
	f := NewInbox(still{}, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = f.Run(ctx)
	}()
	began := time.Now()
	got := record(func(w http.ResponseWriter, r *http.Request) { f.Wait(w, r, "session", "") },
		"/wait"+query, "If-None-Match", `"epoch-1"`, "Prefer", prefer)
	waited := time.Since(began)
	stop()
	<-ran
	return got, waited
}

func TestWaitsThatMakeNoSense(t *testing.T) {
	w := newWeb(t, newInbox(t))
	for _, timeout := range []string{"-1", "-1s", "", "soon", "1h1s", "8760h", "31536000", "99999999999999999999", "1e3", "NaN", "25x", "%00", "1s;"} {
		problem(t, w.get(t, "/wait?timeout="+timeout), http.StatusBadRequest, "TIMEOUT_INVALID")
	}
}

// Without a logic tier a long poll is told so; it does not look as if nothing came.
func TestWithoutALogicTierALongPollIsToldSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := NewInbox(still{deaf: true}, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan struct{})
		go func() {
			defer close(ran)
			_ = f.Run(ctx)
		}()
		got := record(func(w http.ResponseWriter, r *http.Request) { f.Wait(w, r, "session", "") }, "/wait?after=epoch-1")
		if problem(t, got, http.StatusServiceUnavailable, ""); got.header.Get("Retry-After") == "" {
			t.Error("it does not say when to ask again")
		}
		stop()
		<-ran
	})
}

// Nobody is signed in: the logic tier is not even asked, for what it would take as
// asked by nobody's session is another's to ask.
func TestWhoIsNotSignedInIsTold(t *testing.T) {
	k := newWork(t)
	f := NewOperations(k.tier.Logic.Operations, k.tier.Logic.OperationStreams, slog.New(slog.DiscardHandler))
	for _, answer := range []func(http.ResponseWriter, *http.Request, string, string){f.Since, f.Wait, f.Stream} {
		problem(t, record(func(w http.ResponseWriter, r *http.Request) { answer(w, r, "", operationName) }, "/"),
			http.StatusUnauthorized, "SESSION_REQUIRED")
	}
	if n := len(k.tier.Calls("")); n > 0 {
		t.Errorf("%d calls were made", n)
	}
}

// The deadlines of a page do not cut a wait, neither the one for reading, which
// would look as if the client had left, nor the one for writing.
func TestAWaitOutlivesTheDeadlinesOfThePage(t *testing.T) {
	k := newWork(t)
	f := NewOperations(k.tier.Logic.Operations, k.tier.Logic.OperationStreams, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		_ = f.Run(ctx)
	}()
	const deadline = 500 * time.Millisecond
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.Wait(w, r, logictest.Session, operationName)
	}))
	server.Config.ReadTimeout, server.Config.ReadHeaderTimeout, server.Config.WriteTimeout = deadline, patience, deadline
	server.Start()
	t.Cleanup(func() {
		stop()
		<-ran
		server.Close()
	})
	w := &web{url: server.URL}
	if got := w.get(t, "/?after=epoch-1&timeout=1500ms"); got.status != http.StatusNoContent || got.header.Get("ETag") != `"epoch-1"` {
		t.Errorf("answered %d %s", got.status, got.body)
	}
}
