package queue_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/live"
	"techtalks.example/web-tier/platform/logictest"
)

// openLive opens the pages and the event stream of the queues.
func openLive(t *testing.T) (*pagetest.Browser, *logictest.Queues) {
	t.Helper()
	var feed *live.Feed
	ready := make(chan struct{})
	routes := map[string]ui.Handler{"GET /queue/stream": func(v *ui.PageContext) error {
		<-ready
		feed.Stream(v.Writer, v.Request, v.Site.Session(v.Request), "")
		return nil
	}}
	for pattern, handle := range handlers {
		routes[pattern] = handle
	}
	b := pagetest.Open(t, false, routes).With(logictest.OperatorSession)
	queues := logictest.ServeQueues(b.Logic)
	feed = live.NewQueues(b.Logic.Logic.Queues, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		_ = feed.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-stopped })
	close(ready)
	return b, queues
}

// inBox and inRow are JavaScript expressions of a queue's field in the drawing and in
// the table.
func inBox(queue, field string) string {
	return fmt.Sprintf(`document.querySelector('svg [data-queue="%s"] [data-field="%s"]').textContent`, queue, field)
}

func inRow(queue, field string) string {
	return fmt.Sprintf(`document.querySelector('table [data-queue="%s"] [data-field="%s"]').textContent`, queue, field)
}

// waitForWatcher waits until the page has subscribed to the queues.
func waitForWatcher(t *testing.T, queues *logictest.Queues) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); queues.WatcherCount() == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("timed out waiting for the subscription")
		}
	}
}

// Numbers change in place: the page does not reload, nothing moves, and the form keeps
// its values. A new topology replaces the drawing by that of the server.
func TestQueuePageUpdatesLive(t *testing.T) {
	b, queues := openLive(t)
	tab := b.Tab()
	tab.Open("/queue")
	tab.Screenshot("queue-idle")
	tab.Run(`window.loadedOnce = true; window.drawn = document.querySelector("#topology-title").closest("svg")`)
	tab.Fill("#routing_key", "colour.blue")
	waitForWatcher(t, queues)
	positions := `JSON.stringify([...document.querySelectorAll("#queues td, #queues th, #queues dd, #queues text, #try h2")].map(
		(e) => e.matches(".middle, .end") ? 0 : [e.getBoundingClientRect().x, e.getBoundingClientRect().y].map(Math.round)))`
	tab.Run("scrollTo(0, 0); window.positions = " + positions)
	s := logictest.IdleSnapshot()
	for _, q := range s.Queues {
		if q.Name == "transfers.import" {
			q.ReadyCount, q.UnacknowledgedCount, q.InRate, q.OutRate, q.DeadLetterCount = 123_456, 16, 99.9, 0.3, 2
			q.OldestPublishTime = timestamppb.New(s.Time.AsTime().Add(-5 * time.Minute))
			q.Consumers[0].HeldCount = 16
		}
	}
	queues.SetSnapshot(s)
	tab.Until(inBox("transfers.import", "ready") + ` === "123k"`)
	tab.Until(inRow("transfers.import", "ready") + ` === "123,456"`)
	tab.Until(inRow("transfers.import", "oldest") + ` === "5 min"`)
	tab.Until(inBox("transfers.import", "standing") + ` === "Backlog growing"`)
	tab.Until(inBox("transfers.import", "dead") + ` === "2 dead letters"`)
	tab.Until(`document.querySelector('table [data-queue="transfers.import"] .held').textContent === "unacked 16"`)
	tab.Until(`document.querySelector('[data-fact="dead letters"]').textContent === "2"`)
	tab.Until(`window.loadedOnce && window.drawn.isConnected && document.getElementById("routing_key").value === "colour.blue"`)
	tab.Until("window.positions === " + positions)

	// A worker starts: the server renders the new drawing, and the form keeps its values.
	busy := logictest.BusySnapshot()
	queues.SetSnapshot(busy)
	tab.Until(`document.querySelector("#queues").textContent.includes("worker-8") && !window.drawn.isConnected`)
	tab.Until(`window.loadedOnce && document.getElementById("routing_key").value === "colour.blue"`)
	// The script formats numbers as the server does, so an event with the same numbers
	// changes no text.
	tab.Run(`window.server = document.querySelector("#queues").textContent; window.changes = 0;
		new MutationObserver((all) => (window.changes += all.filter((m) => m.target.nodeName !== "TIME").length)).observe(document.querySelector("#queues"), { childList: true, characterData: true, subtree: true })`)
	changed := proto.CloneOf(busy)
	changed.OutboxCount++
	queues.SetSnapshot(changed)
	tab.Until(`document.querySelector('[data-fact="outbox"]').textContent === "13"`)
	tab.Until(`window.changes <= 2`)
	tab.Until(nothingOverlaps)
	tab.Screenshot("queue-busy")

	// Without events the page marks its numbers as stale.
	tab.Until(`document.querySelector("[data-stopped]").textContent.includes("not live")`)
	queues.SetSnapshot(busy)
	tab.Until(`document.querySelector("[data-stopped]").textContent === ""`)

	down := proto.CloneOf(busy)
	down.BrokerUp, down.BrokerProblem = false, "dial tcp 127.0.0.1:5672: connection refused."
	queues.SetSnapshot(down)
	tab.Until(`document.querySelector('[data-fact="broker"]').textContent === "down" && !document.querySelector("[data-broker]").hidden`)
	tab.Screenshot("queue-broker-down")
}

// nothingOverlaps is a JavaScript expression that reports whether the texts of the
// drawings do not overlap and lie inside their boxes. The document's title names a text
// that does not.
const nothingOverlaps = `[...document.querySelectorAll("svg.topology")].every((svg) => {
	const texts = [...svg.querySelectorAll("text")].filter((t) => t.textContent.trim()).map((t) => [t.textContent, t.getBoundingClientRect()]);
	const clash = texts.some(([name, a], i) => texts.slice(0, i).some(([other, b]) => {
		const over = a.left < b.right - 0.5 && b.left < a.right - 0.5 && a.top + 2 < b.bottom - 2 && b.top + 2 < a.bottom - 2;
		if (over) document.title = name + " overlaps " + other;
		return over;
	}));
	const outside = [...svg.querySelectorAll("g.queue, g.producer, g.consumer")].some((g) => {
		const box = g.querySelector("rect").getBoundingClientRect();
		return [...g.querySelectorAll("text")].some((t) => {
			const r = t.getBoundingClientRect();
			const out = t.textContent.trim() && (r.left < box.left || r.right > box.right || r.top < box.top || r.bottom > box.bottom);
			if (out) document.title = t.textContent + " is outside of its box";
			return out;
		});
	});
	return !clash && !outside;
})`

func TestQueuePageRefreshesWithoutJavaScript(t *testing.T) {
	b, queues := openLive(t)
	tab := b.Tab().WithoutScripts()
	tab.Open("/queue")
	tab.Until(inRow("transfers.import", "ready") + ` === "0"`)
	queues.SetSnapshot(logictest.BusySnapshot())
	tab.Until(inRow("transfers.import", "ready") + ` === "1,204"`)
	tab.Screenshot("queue-without-javascript")
}

func TestDeadLettersAreDiscardedAndRedrivenWithoutJavaScript(t *testing.T) {
	b, queues := openLive(t)
	ids := addDeadLetters(queues)
	tab := b.Tab().WithoutScripts()
	tab.Open("/queue/dead-letters")
	tab.Screenshot("dead-letters-all")
	tab.Open("/queue/dead-letters?queue=media.recording")
	tab.Screenshot("dead-letters")
	tab.Open(fmt.Sprintf("/queue/dead-letters/media.recording/%d", ids[0]))
	tab.Screenshot("dead-letter")
	tab.Click("main .danger")
	tab.Until(`document.querySelector("h1").textContent === "Discard 1 dead letter?"`)
	tab.Screenshot("dead-letter-discard")
	tab.Click("form .danger")
	tab.Until(`document.querySelector(".done").textContent === "1 dead letter discarded."`)
	tab.Click("main form button")
	tab.Until(`document.querySelector(".done").textContent === "2 dead letters redriven."`)
	tab.Screenshot("dead-letters-none")
	tab.Open("/queue/dead-letters?queue=unroutable")
	tab.Until(`document.querySelector(".error").textContent === "no binding matched"`)
}

func TestTestMessagePageUpdatesLive(t *testing.T) {
	b, queues := openLive(t)
	tab := b.Tab()
	tab.Open("/queue")
	tab.Click(`input[value="test.topic"]`)
	tab.Fill("#routing_key", "colour.blue.small")
	tab.Click("#try form button")
	tab.Until(`location.pathname === "/queue/tests/1" && document.querySelector("[role=status]")`)
	tab.Run("window.loadedOnce = true")
	queues.SetMatchingBindings(1, &queuepb.Binding{Exchange: "test.topic", Queue: "test.blue", Pattern: "colour.blue.#"})
	tab.Until(`document.querySelector("svg .queue.lit .standing").textContent === "Awaiting delivery"`)
	tab.Until(nothingOverlaps)
	tab.Screenshot("test-awaiting-delivery")
	deliver := func(count int32, outcome string) {
		queues.AddDelivery(1, &queuepb.TestDelivery{Queue: "test.blue", DeliveryCount: count, Host: "logic-1", Process: "logic-1-4711-ab12", Outcome: outcome, Time: timestamppb.Now()})
	}
	deliver(1, "failed")
	tab.Until(`document.querySelectorAll("#test .steps li").length === 1`)
	deliver(2, "acknowledged")
	tab.Until(`window.loadedOnce && document.querySelector("svg .queue.lit .standing").textContent === "Acknowledged on delivery 2"`)
	tab.Until(`document.querySelectorAll("svg .binding.lit").length === 1 && document.querySelectorAll("#test .steps li").length === 2`)
	tab.Screenshot("test-settled")
	tab.Open("/queue/tests?like=1")
	tab.Until(`document.getElementById("routing_key").value === "colour.blue.small"`)
	tab.Fill("#headers", "nonsense")
	tab.Click("main form button")
	tab.Until(`document.getElementById("headers-error") && document.getElementById("headers").value === "nonsense" && document.getElementById("routing_key").value === "colour.blue.small"`)
	tab.Screenshot("test-form-wrong")
}

func TestTestMessagePageRefreshesWithoutJavaScript(t *testing.T) {
	b, queues := openLive(t)
	b.Post("/queue/tests", url.Values{"exchange": {"test.fanout"}})
	queues.SetMatchingBindings(1, &queuepb.Binding{Exchange: "test.fanout", Queue: "test.blue"}, &queuepb.Binding{Exchange: "test.fanout", Queue: "test.green"},
		&queuepb.Binding{Exchange: "test.fanout", Queue: "test.every-process"})
	tab := b.Tab().WithoutScripts()
	tab.Open("/queue/tests/1")
	tab.Until(`document.querySelector("[role=status]").textContent.includes("settled in 0 of them")`)
	queues.AddDelivery(1, &queuepb.TestDelivery{Queue: "test.blue", DeliveryCount: 1, Host: "logic-1", Process: "logic-1-4711-ab12", Outcome: "rejected", Time: timestamppb.Now()})
	tab.Until(`document.querySelector("[role=status]").textContent.includes("settled in 1 of them")`)
	tab.Screenshot("test-without-javascript")
}
