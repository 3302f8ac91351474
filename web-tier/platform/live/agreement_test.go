package live

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// Whichever way an inbox is followed, the same comes, in the same order, once.
func TestTheThreeWaysAgreeOnAnInbox(t *testing.T) {
	in := newInbox(t)
	w := newWeb(t, in)
	want := numbered(1, 60)
	var pushed, longPolled, shortPolled []string
	var cursors [3]string
	var ways sync.WaitGroup
	ways.Go(func() {
		b := w.open(t, "epoch-0")
		for len(pushed) < len(want) {
			e, err := b.next()
			if err != nil {
				t.Errorf("the stream after %d: %v", len(pushed), err)
				return
			}
			if e.name == "notification" {
				_, title, _ := strings.Cut(e.data, `"title":`)
				pushed, cursors[0] = append(pushed, strings.Split(title, `"`)[1]), e.id
			}
		}
	})
	poll := func(path string, into *[]string, at *string) {
		*at = "epoch-0"
		for len(*into) < len(want) {
			got := w.get(t, path+"?after="+url.QueryEscape(*at))
			if got.status == http.StatusNoContent {
				continue
			}
			titles, answer := items(t, got)
			*into, *at = append(*into, titles...), answer.Cursor
			if got.header.Get("ETag") != `"`+answer.Cursor+`"` {
				t.Errorf("tagged %s at %s", got.header.Get("ETag"), answer.Cursor)
			}
		}
	}
	ways.Go(func() { poll("/wait", &longPolled, &cursors[1]) })
	ways.Go(func() { poll("/since", &shortPolled, &cursors[2]) })
	for i, title := range want {
		if i%20 == 7 {
			in.miss(title) // and a gap in what is told
			in.gap()
			continue
		}
		in.arrive(title)
	}
	ways.Wait()
	for way, got := range map[string][]string{"stream": pushed, "long poll": longPolled, "short poll": shortPolled} {
		if !slices.Equal(got, want) {
			t.Errorf("by %s came %v", way, got)
		}
	}
	if last := fmt.Sprint("epoch-", len(want)); cursors != [3]string{last, last, last} {
		t.Errorf("they end at %v", cursors)
	}
}

// Whichever way an operation is followed, it never goes back, nothing comes twice,
// and the end is the same.
func TestTheThreeWaysAgreeOnAnOperation(t *testing.T) {
	k := newWork(t)
	w := serveWork(t, k)
	var saw [3]seenBy
	var ways sync.WaitGroup
	ways.Go(func() {
		b := w.open(t, "")
		for saw[0].final == nil {
			e, err := b.next()
			if err != nil {
				t.Errorf("the stream after %v: %v", saw[0].cursors, err)
				return
			}
			if e.name != "operation" {
				continue
			}
			o := &longrunningpb.Operation{}
			if err := protojson.Unmarshal([]byte(e.data), o); err != nil {
				t.Error(err)
				return
			}
			saw[0].see(t, o)
			if e.id != saw[0].cursors[len(saw[0].cursors)-1] {
				t.Errorf("the event %s has the id %s", saw[0].cursors, e.id)
			}
		}
	})
	poll := func(path string, seen *seenBy) {
		var tag string
		for seen.final == nil {
			got := w.get(t, path, "If-None-Match", tag)
			if got.status == http.StatusNotModified || got.status == http.StatusNoContent {
				continue
			}
			seen.see(t, decode[longrunningpb.Operation](t, got))
			tag = got.header.Get("ETag")
		}
	}
	ways.Go(func() { poll("/wait", &saw[1]) })
	ways.Go(func() { poll("/since", &saw[2]) })
	until(t, "two follow", func() bool { return k.following() > 0 })
	for done := range int64(60) {
		k.progress(done)
	}
	k.succeed()
	ways.Wait()
	for way, seen := range saw {
		if !seen.ascending() {
			t.Errorf("way %d saw %v", way, seen.cursors)
		}
		if !proto.Equal(seen.final, saw[0].final) {
			t.Errorf("way %d ends with %v, a stream with %v", way, seen.final, saw[0].final)
		}
	}
}

// One change releases everybody, however many wait, and none of them asks the
// logic tier for it.
func TestOneChangeReleasesEverybody(t *testing.T) {
	const many = readersPerSession
	t.Run("long poll", func(t *testing.T) {
		k := newWork(t)
		w := serveWork(t, k)
		var waiters [many]<-chan reply
		for i := range waiters {
			waiters[i] = w.begin(t.Context(), "/wait?after=epoch-1&timeout=60s")
		}
		k.waiting(t, many, many)
		k.progress(42)
		for _, waiter := range waiters {
			got := awaitReply(t, waiter)
			decode[longrunningpb.Operation](t, got)
			if tag := got.header.Get("ETag"); tag != `"epoch-2"` {
				t.Errorf("released at %s", tag)
			}
		}
		if n := k.reads(); n != many {
			t.Errorf("the operation was read %d times for %d waiters", n, many)
		}
		until(t, "nobody follows any more", func() bool { return k.following() == 0 })
	})
	t.Run("stream", func(t *testing.T) {
		k := newWork(t)
		w := serveWork(t, k)
		var streams [many]*browser
		for i := range streams {
			streams[i] = w.open(t, "epoch-1")
		}
		k.waiting(t, many, many)
		k.progress(42)
		for _, b := range streams {
			if e := nextOperation(t, b); e.id != "epoch-2" {
				t.Errorf("released at %+v", e)
			}
		}
	})
	t.Run("short poll", func(t *testing.T) {
		k := newWork(t)
		w := serveWork(t, k)
		for range many {
			if got := w.get(t, "/since", "If-None-Match", `"epoch-1"`); got.status != http.StatusNotModified || len(got.body) > 0 {
				t.Fatalf("answered %d %s before the change", got.status, got.body)
			}
		}
		k.progress(42)
		for range many {
			if got := w.get(t, "/since", "If-None-Match", `"epoch-1"`); got.status != http.StatusOK {
				t.Fatalf("answered %d after the change", got.status)
			}
		}
	})
}

// nextOperation returns the next event "operation" of a stream.
func nextOperation(t *testing.T, b *browser) event {
	t.Helper()
	for {
		e, err := b.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.name == "operation" {
			return e
		}
	}
}

// What is over is said to be, every way, and nobody is kept waiting for it.
func TestAnOperationThatIsDone(t *testing.T) {
	k := newWork(t)
	w := serveWork(t, k)
	follower := w.open(t, "")
	if e := nextOperation(t, follower); e.id != "epoch-1" {
		t.Fatalf("it begins with %+v", e)
	}
	k.succeed()
	if e := nextOperation(t, follower); e.id != "epoch-2" || !strings.Contains(e.data, "talks_created") {
		t.Fatalf("it ends with %+v", e)
	}
	if e, err := follower.next(); err != io.EOF {
		t.Errorf("then comes %+v, %v", e, err)
	}

	late := w.open(t, "epoch-1")
	if e := nextOperation(t, late); e.id != "epoch-2" {
		t.Errorf("who comes late gets %+v", e)
	}
	if back := w.open(t, "epoch-2"); back.response.StatusCode != http.StatusNoContent {
		t.Errorf("who has it all is answered %s", back.response.Status)
	}
	for _, path := range []string{"/wait", "/wait?after=epoch-1", "/wait?after=epoch-2", "/since"} {
		got := w.get(t, path)
		if !decode[longrunningpb.Operation](t, got).Done || got.header.Get("ETag") != `"epoch-2"` {
			t.Errorf("%s: %s %s", path, got.header.Get("ETag"), got.body)
		}
		if again := got.header.Get("Retry-After"); again != "" {
			t.Errorf("%s: asked to come back in %s s", path, again)
		}
	}
	if got := w.get(t, "/since", "If-None-Match", `W/"epoch-0", "epoch-2"`); got.status != http.StatusNotModified || got.header.Get("Retry-After") != "" {
		t.Errorf("answered %d, again in %q", got.status, got.header.Get("Retry-After"))
	}
	until(t, "nobody follows", func() bool { return k.following() == 0 })
}

// A cursor of another epoch, ahead of everything, or none at all, is answered with
// the operation as it is: it says everything.
func TestAnOperationNeedsNoReset(t *testing.T) {
	k := newWork(t)
	w := serveWork(t, k)
	for _, after := range []string{"restored-1", "epoch-7", "nonsense", "-", strings.Repeat("x", 5000), "\xff-1"} {
		b := w.open(t, after)
		if e := nextOperation(t, b); e.id != "epoch-1" {
			t.Errorf("a stream after %.20q: %+v", after, e)
		}
		b.leave()
		if got := w.get(t, "/wait?after="+url.QueryEscape(after)); got.header.Get("ETag") != `"epoch-1"` {
			t.Errorf("a long poll after %.20q: %d %s", after, got.status, got.body)
		}
	}
}

// Somebody else's operation is not there, and neither is one whose name the
// contract would not even take: that must not end the stream of everybody.
func TestAnOperationThatIsNotThere(t *testing.T) {
	k := newWork(t)
	w := serveWork(t, k)
	waits := w.begin(t.Context(), "/wait?after=epoch-1")
	k.waiting(t, 1, 1)
	for _, key := range []string{"operations/somebody-elses", "operations/" + strings.Repeat("x", 200), "operations/\xff"} {
		for _, path := range []string{"/since", "/wait", "/"} {
			problem(t, w.get(t, path, "Key", key), http.StatusNotFound, "OPERATION_NOT_FOUND")
		}
	}
	k.progress(1)
	if got := awaitReply(t, waits); got.status != http.StatusOK {
		t.Errorf("who follows another is answered %d %s", got.status, got.body)
	}
}

// The session is not valid: every way says so, to programs as JSON.
func TestASessionThatIsNotValidIsRefusedEveryWay(t *testing.T) {
	for name, w := range map[string]*web{"inbox": newWeb(t, newInbox(t)), "operations": serveWork(t, newWork(t))} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/since?after=epoch-1", "/since", "/wait", "/"} {
				problem(t, w.get(t, path, "Session", "stolen"), http.StatusUnauthorized, "SESSION_INVALID")
			}
		})
	}
}

// A result of a kind that this program does not know yet does not hide how far the
// operation is.
func TestAResultThatIsNotKnownIsLeftOut(t *testing.T) {
	k := newWork(t)
	w := serveWork(t, k)
	b := w.open(t, "epoch-1")
	k.waiting(t, 1, 1)
	k.mu.Lock()
	unknown := packed(&operationspb.OperationStarted{})
	unknown.TypeUrl = "type.googleapis.com/techtalks.future.v1.Unknown"
	k.response = unknown
	k.mu.Unlock()
	k.progress(100)
	if e := nextOperation(t, b); e.id != "epoch-2" || !strings.Contains(e.data, `"done":`) {
		t.Errorf("it ends with %+v", e)
	}
	if got := w.get(t, "/since"); got.status != http.StatusOK {
		t.Errorf("answered %d %s", got.status, got.body)
	}
}

// Who is slow gets the latest of what says all that was before.
func TestASlowReaderOfAnOperationGetsTheLatest(t *testing.T) {
	r := &reader{whole: true, wake: make(chan struct{}, 1)}
	const changes = 10 * maxPending
	for n := range int64(changes) {
		r.push(&frame{cursor: cursor{epoch, n}})
	}
	n := r.take()
	if n.cut || len(n.pending) > maxLatest || n.pending[len(n.pending)-1].sequence != changes-1 {
		t.Errorf("it has %d, cut: %v", len(n.pending), n.cut)
	}
}

// A page that was read already is answered as the short poll is.
func TestAnswerOperation(t *testing.T) {
	k := newWork(t)
	w := serveWork(t, k)
	o, err := k.tier.Logic.Operations.GetOperation(context.Background(), &longrunningpb.GetOperationRequest{Name: operationName})
	if err != nil {
		t.Fatal(err)
	}
	polled := w.get(t, "/since")
	for tag, status := range map[string]int{"": 200, `"epoch-1"`: 304, `"epoch-2"`: 200} {
		got := record(func(w http.ResponseWriter, r *http.Request) { AnswerOperation(w, r, o) }, "/", "If-None-Match", tag)
		if got.status != status || got.header.Get("ETag") != polled.header.Get("ETag") || got.header.Get("Cache-Control") != "private, no-cache" {
			t.Errorf("tag %s: %d %v", tag, got.status, got.header)
		}
		if status == 200 && !proto.Equal(decode[longrunningpb.Operation](t, got), decode[longrunningpb.Operation](t, polled)) {
			t.Errorf("answered %s, polled %s", got.body, polled.body)
		}
	}
}
