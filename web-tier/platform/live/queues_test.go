package live

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"testing"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/web-tier/platform/logictest"
)

func serveQueues(t *testing.T) (*logictest.Tier, *logictest.Queues, *testServer) {
	t.Helper()
	tier := logictest.New(t)
	queues := logictest.ServeQueues(tier)
	return tier, queues, serveFeed(t, NewQueues(tier.Logic.Queues, slog.New(slog.DiscardHandler)), "")
}

// awaitSnapshot reads events up to a snapshot with this outbox count.
func (b *browser) awaitSnapshot(outboxCount string) {
	b.t.Helper()
	for {
		e, err := b.next()
		if err != nil {
			b.t.Fatalf("waiting for a snapshot with outbox count %s: %v", outboxCount, err)
		}
		var s struct {
			OutboxCount string `json:"outbox_count"`
		}
		if e.name != "snapshot" {
			continue
		}
		if err := json.Unmarshal([]byte(e.data), &s); err != nil {
			b.t.Fatal(err)
		}
		if s.OutboxCount == outboxCount {
			return
		}
	}
}

func snapshotWithOutbox(n int64) *queuepb.Snapshot {
	s := logictest.IdleSnapshot()
	s.OutboxCount = n
	return s
}

// The logic tier takes snapshots once for all subscribers of a session, and not at all
// without subscribers.
func TestQueueSubscribersShareOneUpstreamCall(t *testing.T) {
	_, queues, w := serveQueues(t)
	var browsers []*browser
	for range 3 {
		b := w.open(t, "", "Session", logictest.OperatorSession)
		b.awaitSnapshot("0")
		browsers = append(browsers, b)
	}
	waitUntil(t, "the queue is watched", func() bool { return queues.WatcherCount() == 1 })
	queues.SetSnapshot(snapshotWithOutbox(7))
	for _, b := range browsers {
		b.awaitSnapshot("7")
	}
	browsers[0].disconnect()
	browsers[1].disconnect()
	queues.SetSnapshot(snapshotWithOutbox(8))
	browsers[2].awaitSnapshot("8")
	browsers[2].disconnect()
	waitUntil(t, "the queue is not watched", func() bool { return queues.WatcherCount() == 0 })
	if opened := queues.WatcherSessions(); len(opened) != 1 {
		t.Errorf("got %d upstream calls, want 1", len(opened))
	}
	// A later subscriber opens the call again.
	b := w.open(t, "queues-1", "Session", logictest.OperatorSession)
	b.awaitSnapshot("8")
	waitUntil(t, "the queue is watched again", func() bool { return queues.WatcherCount() == 1 })
	queues.SetSnapshot(snapshotWithOutbox(9))
	b.awaitSnapshot("9")
}

// Rejected sessions neither disturb an operator's stream nor share it.
func TestQueueStreamRequiresOperator(t *testing.T) {
	_, queues, w := serveQueues(t)
	for range 3 {
		if b := w.open(t, "", "Session", logictest.Session); b.response.StatusCode != http.StatusForbidden {
			t.Fatalf("got %s, want 403", b.response.Status)
		}
	}
	if b := w.open(t, "", "Session", "invalid"); b.response.StatusCode != http.StatusUnauthorized {
		t.Errorf("invalid session: got %s, want 401", b.response.Status)
	}
	b := w.open(t, "", "Session", logictest.OperatorSession)
	b.awaitSnapshot("0")
	waitUntil(t, "the queue is watched", func() bool { return queues.WatcherCount() == 1 })
	if other := w.open(t, "", "Session", logictest.Session); other.response.StatusCode != http.StatusForbidden {
		t.Errorf("while an operator watches: got %s, want 403", other.response.Status)
	}
	queues.SetSnapshot(snapshotWithOutbox(1))
	b.awaitSnapshot("1")
	if opened := queues.WatcherSessions(); slices.Contains(opened, logictest.Session) {
		t.Errorf("got upstream calls for sessions %v, want only the operator's", opened)
	}
}

func TestQueueStreamContinuesAfterLogicTierRestart(t *testing.T) {
	_, queues, w := serveQueues(t)
	b := w.open(t, "", "Session", logictest.OperatorSession)
	b.awaitSnapshot("0")
	waitUntil(t, "the queue is watched", func() bool { return queues.WatcherCount() == 1 })
	queues.Drain()
	waitUntil(t, "another call is open", func() bool { return len(queues.WatcherSessions()) == 2 && queues.WatcherCount() == 1 })
	queues.SetSnapshot(snapshotWithOutbox(5))
	b.awaitSnapshot("5")
}

func TestQueueFeedRejectsSubscribersBeyondLimit(t *testing.T) {
	tier := logictest.New(t)
	logictest.ServeQueues(tier)
	feed := NewQueues(tier.Logic.Queues, slog.New(slog.DiscardHandler))
	for n := range maxQueueSubscribers {
		if err := feed.add(feed.newSubscriber(fmt.Sprint("operator ", n), "", "", false)); err != nil {
			t.Fatal(err)
		}
	}
	if err := feed.add(feed.newSubscriber(logictest.OperatorSession, "", "", false)); err != errFull {
		t.Errorf("subscriber beyond the limit: got %v, want %v", err, errFull)
	}
}
