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

func openQueues(t *testing.T) (*logictest.Tier, *logictest.Queues, *web) {
	t.Helper()
	tier := logictest.New(t)
	queues := logictest.ServeQueues(tier)
	return tier, queues, serve(t, NewQueues(tier.Logic.Queues, slog.New(slog.DiscardHandler)), "")
}

// snapshot reads events until one says that so much waits in the outbox.
func (b *browser) snapshot(outbox string) {
	b.t.Helper()
	for {
		e, err := b.next()
		if err != nil {
			b.t.Fatalf("waiting for %s in the outbox: %v", outbox, err)
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
		if s.OutboxCount == outbox {
			return
		}
	}
}

func waiting(n int64) *queuepb.Snapshot {
	s := logictest.IdleSnapshot()
	s.OutboxCount = n
	return s
}

// However many watch, the logic tier counts once; and for nobody, not at all.
func TestAllWhoWatchTheQueueShareOneStream(t *testing.T) {
	_, queues, w := openQueues(t)
	var all []*browser
	for range 3 {
		b := w.open(t, "", "Session", logictest.OperatorSession)
		b.snapshot("0")
		all = append(all, b)
	}
	until(t, "somebody watches", func() bool { return queues.WatcherCount() == 1 })
	queues.SetSnapshot(waiting(7))
	for _, b := range all {
		b.snapshot("7")
	}
	all[0].leave()
	all[1].leave()
	queues.SetSnapshot(waiting(8))
	all[2].snapshot("8")
	all[2].leave()
	until(t, "nobody watches", func() bool { return queues.WatcherCount() == 0 })
	if opened := queues.WatcherSessions(); len(opened) != 1 {
		t.Errorf("opened %d streams", len(opened))
	}
	// Who comes after that is served like the first.
	b := w.open(t, "queues-1", "Session", logictest.OperatorSession)
	b.snapshot("8")
	until(t, "somebody watches again", func() bool { return queues.WatcherCount() == 1 })
	queues.SetSnapshot(waiting(9))
	b.snapshot("9")
}

// Who may not watch is told so, and neither stands in the way of who may nor is
// shown anything through them.
func TestOnlyAnOperatorWatchesTheQueue(t *testing.T) {
	_, queues, w := openQueues(t)
	for range 3 {
		if b := w.open(t, "", "Session", logictest.Session); b.response.StatusCode != http.StatusForbidden {
			t.Fatalf("answered %s", b.response.Status)
		}
	}
	if b := w.open(t, "", "Session", "stolen"); b.response.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stolen session: answered %s", b.response.Status)
	}
	b := w.open(t, "", "Session", logictest.OperatorSession)
	b.snapshot("0")
	until(t, "somebody watches", func() bool { return queues.WatcherCount() == 1 })
	if other := w.open(t, "", "Session", logictest.Session); other.response.StatusCode != http.StatusForbidden {
		t.Errorf("beside an operator: answered %s", other.response.Status)
	}
	queues.SetSnapshot(waiting(1))
	b.snapshot("1")
	if opened := queues.WatcherSessions(); slices.Contains(opened, logictest.Session) {
		t.Errorf("opened with %v", opened)
	}
}

// The logic tier is replaced: the browser's stream does not end.
func TestTheQueueIsWatchedThroughARestart(t *testing.T) {
	_, queues, w := openQueues(t)
	b := w.open(t, "", "Session", logictest.OperatorSession)
	b.snapshot("0")
	until(t, "somebody watches", func() bool { return queues.WatcherCount() == 1 })
	queues.Drain()
	until(t, "another stream", func() bool { return len(queues.WatcherSessions()) == 2 && queues.WatcherCount() == 1 })
	queues.SetSnapshot(waiting(5))
	b.snapshot("5")
}

func TestAsManyWatchTheQueueAsThereIsRoomFor(t *testing.T) {
	tier := logictest.New(t)
	logictest.ServeQueues(tier)
	feed := NewQueues(tier.Logic.Queues, slog.New(slog.DiscardHandler))
	for n := range maxWatchers {
		if err := feed.add(feed.newReader(fmt.Sprint("operator ", n), "", "", false)); err != nil {
			t.Fatal(err)
		}
	}
	if err := feed.add(feed.newReader(logictest.OperatorSession, "", "", false)); err != errFull {
		t.Errorf("one more: %v", err)
	}
}
