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

// Every transport delivers the same events, in the same order, once.
func TestTransportsAgreeOnInbox(t *testing.T) {
	inbox := newFakeInbox(t)
	w := serveInbox(t, inbox)
	want := numbered(1, 60)
	var streamed, longPolled, shortPolled []string
	var cursors [3]string
	var clients sync.WaitGroup
	clients.Go(func() {
		b := w.open(t, "epoch-0")
		for len(streamed) < len(want) {
			e, err := b.next()
			if err != nil {
				t.Errorf("stream, after %d events: %v", len(streamed), err)
				return
			}
			if e.name == "notification" {
				_, title, _ := strings.Cut(e.data, `"title":`)
				streamed, cursors[0] = append(streamed, strings.Split(title, `"`)[1]), e.id
			}
		}
	})
	poll := func(path string, received *[]string, cursor *string) {
		*cursor = "epoch-0"
		for len(*received) < len(want) {
			got := w.get(t, path+"?after="+url.QueryEscape(*cursor))
			if got.status == http.StatusNoContent {
				continue
			}
			titles, list := decodeItems(t, got)
			*received, *cursor = append(*received, titles...), list.Cursor
			if got.header.Get("ETag") != `"`+list.Cursor+`"` {
				t.Errorf("got ETag %s, want cursor %s", got.header.Get("ETag"), list.Cursor)
			}
		}
	}
	clients.Go(func() { poll("/wait", &longPolled, &cursors[1]) })
	clients.Go(func() { poll("/since", &shortPolled, &cursors[2]) })
	for i, title := range want {
		if i%20 == 7 {
			inbox.addSilently(title)
			inbox.sendGap()
			continue
		}
		inbox.deliver(title)
	}
	clients.Wait()
	for transport, got := range map[string][]string{"stream": streamed, "long poll": longPolled, "short poll": shortPolled} {
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v", transport, got)
		}
	}
	if last := fmt.Sprint("epoch-", len(want)); cursors != [3]string{last, last, last} {
		t.Errorf("got final cursors %v, want %s", cursors, last)
	}
}

// On every transport the revisions increase and the final state is the same.
func TestTransportsAgreeOnOperation(t *testing.T) {
	op := newFakeOperation(t)
	w := serveOperation(t, op)
	var observations [3]observation
	var clients sync.WaitGroup
	clients.Go(func() {
		b := w.open(t, "")
		for observations[0].final == nil {
			e, err := b.next()
			if err != nil {
				t.Errorf("stream, after %v: %v", observations[0].cursors, err)
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
			observations[0].add(t, o)
			if e.id != observations[0].cursors[len(observations[0].cursors)-1] {
				t.Errorf("cursors %s: got event id %s", observations[0].cursors, e.id)
			}
		}
	})
	poll := func(path string, observed *observation) {
		var tag string
		for observed.final == nil {
			got := w.get(t, path, "If-None-Match", tag)
			if got.status == http.StatusNotModified || got.status == http.StatusNoContent {
				continue
			}
			observed.add(t, decode[longrunningpb.Operation](t, got))
			tag = got.header.Get("ETag")
		}
	}
	clients.Go(func() { poll("/wait", &observations[1]) })
	clients.Go(func() { poll("/since", &observations[2]) })
	waitUntil(t, "the operation has a subscriber", func() bool { return op.subscriberCount() > 0 })
	for done := range int64(60) {
		op.update(done)
	}
	op.succeed()
	clients.Wait()
	for i, observed := range observations {
		if !observed.ascending() {
			t.Errorf("transport %d: cursors are not ascending: %v", i, observed.cursors)
		}
		if !proto.Equal(observed.final, observations[0].final) {
			t.Errorf("transport %d: got final state %v, stream got %v", i, observed.final, observations[0].final)
		}
	}
}

// A change reaches every subscriber without a read for each.
func TestChangeReachesEverySubscriber(t *testing.T) {
	const n = subscribersPerSession
	t.Run("long poll", func(t *testing.T) {
		op := newFakeOperation(t)
		w := serveOperation(t, op)
		var polls [n]<-chan pollResponse
		for i := range polls {
			polls[i] = w.getAsync(t.Context(), "/wait?after=epoch-1&timeout=60s")
		}
		op.awaitSubscribers(t, n, n)
		op.update(42)
		for _, poll := range polls {
			got := awaitResponse(t, poll)
			decode[longrunningpb.Operation](t, got)
			if tag := got.header.Get("ETag"); tag != `"epoch-2"` {
				t.Errorf("got ETag %s, want epoch-2", tag)
			}
		}
		if reads := op.reads(); reads != n {
			t.Errorf("got %d reads for %d long polls, want one each", reads, n)
		}
		waitUntil(t, "there are no subscribers", func() bool { return op.subscriberCount() == 0 })
	})
	t.Run("stream", func(t *testing.T) {
		op := newFakeOperation(t)
		w := serveOperation(t, op)
		var streams [n]*browser
		for i := range streams {
			streams[i] = w.open(t, "epoch-1")
		}
		op.awaitSubscribers(t, n, n)
		op.update(42)
		for _, b := range streams {
			if e := nextOperation(t, b); e.id != "epoch-2" {
				t.Errorf("got %+v, want id epoch-2", e)
			}
		}
	})
	t.Run("short poll", func(t *testing.T) {
		op := newFakeOperation(t)
		w := serveOperation(t, op)
		for range n {
			if got := w.get(t, "/since", "If-None-Match", `"epoch-1"`); got.status != http.StatusNotModified || len(got.body) > 0 {
				t.Fatalf("before the change: got %d %s, want 304", got.status, got.body)
			}
		}
		op.update(42)
		for range n {
			if got := w.get(t, "/since", "If-None-Match", `"epoch-1"`); got.status != http.StatusOK {
				t.Fatalf("after the change: got %d, want 200", got.status)
			}
		}
	})
}

// nextOperation returns the next event "operation".
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

func TestEveryTransportEndsWhenOperationIsDone(t *testing.T) {
	op := newFakeOperation(t)
	w := serveOperation(t, op)
	early := w.open(t, "")
	if e := nextOperation(t, early); e.id != "epoch-1" {
		t.Fatalf("first event: got %+v, want id epoch-1", e)
	}
	op.succeed()
	if e := nextOperation(t, early); e.id != "epoch-2" || !strings.Contains(e.data, "talks_created") {
		t.Fatalf("final event: got %+v, want id epoch-2 and a response", e)
	}
	if e, err := early.next(); err != io.EOF {
		t.Errorf("after the final event: got %+v, %v, want io.EOF", e, err)
	}

	late := w.open(t, "epoch-1")
	if e := nextOperation(t, late); e.id != "epoch-2" {
		t.Errorf("late stream: got %+v, want id epoch-2", e)
	}
	if b := w.open(t, "epoch-2"); b.response.StatusCode != http.StatusNoContent {
		t.Errorf("stream with the final cursor: got %s, want 204", b.response.Status)
	}
	for _, path := range []string{"/wait", "/wait?after=epoch-1", "/wait?after=epoch-2", "/since"} {
		got := w.get(t, path)
		if !decode[longrunningpb.Operation](t, got).Done || got.header.Get("ETag") != `"epoch-2"` {
			t.Errorf("%s: got ETag %s, %s, want the final state", path, got.header.Get("ETag"), got.body)
		}
		if retryAfter := got.header.Get("Retry-After"); retryAfter != "" {
			t.Errorf("%s: got Retry-After %s, want none", path, retryAfter)
		}
	}
	if got := w.get(t, "/since", "If-None-Match", `W/"epoch-0", "epoch-2"`); got.status != http.StatusNotModified || got.header.Get("Retry-After") != "" {
		t.Errorf("got %d, Retry-After %q, want 304 without it", got.status, got.header.Get("Retry-After"))
	}
	waitUntil(t, "there are no subscribers", func() bool { return op.subscriberCount() == 0 })
}

// An invalid cursor is answered with the current state.
func TestOperationNeedsNoReset(t *testing.T) {
	op := newFakeOperation(t)
	w := serveOperation(t, op)
	for _, after := range []string{"restored-1", "epoch-7", "nonsense", "-", strings.Repeat("x", 5000), "\xff-1"} {
		b := w.open(t, after)
		if e := nextOperation(t, b); e.id != "epoch-1" {
			t.Errorf("stream with cursor %.20q: got %+v, want id epoch-1", after, e)
		}
		b.disconnect()
		if got := w.get(t, "/wait?after="+url.QueryEscape(after)); got.header.Get("ETag") != `"epoch-1"` {
			t.Errorf("long poll with cursor %.20q: got %d %s, want ETag epoch-1", after, got.status, got.body)
		}
	}
}

// A name that breaks the contract's rules must not fail the shared upstream.
func TestUnknownOperationIsNotFound(t *testing.T) {
	op := newFakeOperation(t)
	w := serveOperation(t, op)
	poll := w.getAsync(t.Context(), "/wait?after=epoch-1")
	op.awaitSubscribers(t, 1, 1)
	for _, key := range []string{"operations/of-another-account", "operations/" + strings.Repeat("x", 200), "operations/\xff"} {
		for _, path := range []string{"/since", "/wait", "/"} {
			checkProblem(t, w.get(t, path, "Key", key), http.StatusNotFound, "OPERATION_NOT_FOUND")
		}
	}
	op.update(1)
	if got := awaitResponse(t, poll); got.status != http.StatusOK {
		t.Errorf("long poll of another operation: got %d %s, want 200", got.status, got.body)
	}
}

func TestEveryTransportRejectsInvalidSession(t *testing.T) {
	for name, w := range map[string]*testServer{"inbox": serveInbox(t, newFakeInbox(t)), "operations": serveOperation(t, newFakeOperation(t))} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/since?after=epoch-1", "/since", "/wait", "/"} {
				checkProblem(t, w.get(t, path, "Session", "invalid"), http.StatusUnauthorized, "SESSION_INVALID")
			}
		})
	}
}

// The progress of an operation is sent even if the type of its result is unknown.
func TestOperationResultOfUnknownTypeIsOmitted(t *testing.T) {
	op := newFakeOperation(t)
	w := serveOperation(t, op)
	b := w.open(t, "epoch-1")
	op.awaitSubscribers(t, 1, 1)
	op.mu.Lock()
	unknown := pack(&operationspb.OperationStarted{})
	unknown.TypeUrl = "type.googleapis.com/techtalks.future.v1.Unknown"
	op.response = unknown
	op.mu.Unlock()
	op.update(100)
	if e := nextOperation(t, b); e.id != "epoch-2" || !strings.Contains(e.data, `"done":`) {
		t.Errorf("got %+v, want id epoch-2", e)
	}
	if got := w.get(t, "/since"); got.status != http.StatusOK {
		t.Errorf("got %d %s, want 200", got.status, got.body)
	}
}

func TestSlowSubscriberOfOperationGetsLatest(t *testing.T) {
	sub := &subscriber{coalesce: true, wake: make(chan struct{}, 1)}
	const changes = 10 * maxPending
	for n := range int64(changes) {
		sub.push(&frame{cursor: cursor{epoch, n}})
	}
	u := sub.take()
	if u.overflow || len(u.pending) > maxCoalesced || u.pending[len(u.pending)-1].sequence != changes-1 {
		t.Errorf("got %d pending events, overflow %v", len(u.pending), u.overflow)
	}
}

func TestAnswerOperationMatchesShortPoll(t *testing.T) {
	op := newFakeOperation(t)
	w := serveOperation(t, op)
	operation, err := op.tier.Logic.Operations.GetOperation(context.Background(), &longrunningpb.GetOperationRequest{Name: operationName})
	if err != nil {
		t.Fatal(err)
	}
	polled := w.get(t, "/since")
	for tag, status := range map[string]int{"": 200, `"epoch-1"`: 304, `"epoch-2"`: 200} {
		got := record(func(w http.ResponseWriter, r *http.Request) { AnswerOperation(w, r, operation) }, "/", "If-None-Match", tag)
		if got.status != status || got.header.Get("ETag") != polled.header.Get("ETag") || got.header.Get("Cache-Control") != "private, no-cache" {
			t.Errorf("If-None-Match %s: got %d %v, want %d", tag, got.status, got.header, status)
		}
		if status == 200 && !proto.Equal(decode[longrunningpb.Operation](t, got), decode[longrunningpb.Operation](t, polled)) {
			t.Errorf("got %s, short poll got %s", got.body, polled.body)
		}
	}
}
