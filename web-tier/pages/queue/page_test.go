package queue_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/queue"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
)

var handlers = map[string]ui.Handler{
	"GET /queue": queue.Show, "GET /queue/dead-letters": queue.ListDeadLetters,
	"GET /queue/dead-letters/{queue}/{id}":     queue.ShowDeadLetter,
	"POST /queue/dead-letters/{queue}/redrive": queue.Redrive,
	"GET /queue/dead-letters/{queue}/discard":  queue.ConfirmDiscard,
	"POST /queue/dead-letters/{queue}/discard": queue.Discard,
	"GET /queue/tests":                         queue.Try, "POST /queue/tests": queue.Send, "GET /queue/tests/{test}": queue.ShowTest,
}

// open opens the pages as an operator.
func open(t *testing.T) (*pagetest.Browser, *logictest.Queues) {
	t.Helper()
	b := pagetest.Open(t, false, handlers).With(logictest.OperatorSession)
	return b, logictest.ServeQueues(b.Logic)
}

func TestQueuePagesRequireOperator(t *testing.T) {
	b, _ := open(t)
	b.Get("/queue").Is(200, `<a href="/queue" aria-current="page">Queue</a>`)
	for _, path := range []string{
		"/queue", "/queue/dead-letters", "/queue/dead-letters/media.recording/1", "/queue/dead-letters/unroutable/discard?all=yes",
		"/queue/tests", "/queue/tests/1",
	} {
		b.With("").Get(path).RedirectsTo("/sign-in?next=" + url.QueryEscape(path))
		b.With(logictest.Session).Get(path).Is(403, "Operators only", "not an operator", "Ada").Lacks(`href="/queue"`)
	}
	for _, path := range []string{"/queue/dead-letters/media.recording/redrive", "/queue/dead-letters/media.recording/discard"} {
		b.With("").Post(path, url.Values{"all": {"yes"}}).RedirectsTo("/sign-in?next=%2F")
		b.With(logictest.Session).Post(path, url.Values{"all": {"yes"}}).Is(403, "Operators only")
	}
	b.With(logictest.Session).Post("/queue/tests", url.Values{"exchange": {"test.direct"}}).Is(403, "Operators only")
}

func TestShowRendersTopologyAndQueues(t *testing.T) {
	b, queues := open(t)
	b.Get("/queue").Is(200, "PostgreSQL", "notifications.talk-published", "operation.started.recording", "logic-1", "4711-ab12", "prefetch 16", "concurrency 4", "unacked", "Empty",
		`<noscript><meta http-equiv="refresh" content="5"></noscript>`, "/assets/queue.").Lacks("Outbox", "Backlog growing", "dead letter<")
	queues.SetSnapshot(logictest.BusySnapshot())
	b.Get("/queue").Is(200, "RabbitMQ", "Outbox", "1,204", "95 s", "212", "17 · 0.4/s", "Backlog growing", "No consumer", "3 dead letters",
		`href="/queue/dead-letters?queue=media.recording"`, `href="/queue/dead-letters?queue=unroutable"`, "1,234,567", "worker-8", "26 h", "2 processes")
	down := logictest.BusySnapshot()
	down.BrokerUp, down.BrokerProblem = false, "dial tcp: refused <there>."
	queues.SetSnapshot(down)
	b.Get("/queue").Is(200, "refused &lt;there&gt;", ">down<")
}

func TestShowAnswers503WhenDatabaseIsUnavailable(t *testing.T) {
	b, _ := open(t)
	logictest.Answer(b.Logic, queuepb.Queues_GetQueues_FullMethodName, func(context.Context, *queuepb.GetQueuesRequest) (*queuepb.GetQueuesResponse, error) {
		return nil, logictest.RefusalRetry(codes.Unavailable, "DATABASE_UNAVAILABLE", "database unavailable", 3*time.Second)
	})
	if p := b.Get("/queue").Is(503, "is not responding"); p.Header.Get("Retry-After") != "3" {
		t.Errorf("got Retry-After %q, want 3", p.Header.Get("Retry-After"))
	}
}

// addDeadLetters adds three dead letters of a queue and an unroutable one, and returns
// their ids.
func addDeadLetters(queues *logictest.Queues) []int64 {
	s := logictest.BusySnapshot()
	died := timestamppb.New(time.Now().Add(-time.Minute))
	recording := &queuepb.DeadLetter{
		Queue: "media.recording", Type: "operation.started", Exchange: "operations", RoutingKey: "operation.started.recording", DeliveryCount: 20,
		DeathTime: died, PublishTime: died, Error: "ffmpeg: moov atom <not> found", Body: `{"operation":"operations/7","kind":"recording"}`,
		Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Headers: map[string]string{"kind": "recording"},
		History: []*queuepb.Failure{
			{DeliveryCount: 19, Time: died, Host: "worker-7", Error: "the data tier is unavailable"},
			{DeliveryCount: 20, Time: died, Host: "worker-8", Error: "ffmpeg: moov atom <not> found"},
		},
	}
	unroutable := &queuepb.DeadLetter{Type: "test", Exchange: "test.direct", RoutingKey: "purple", DeathTime: died, PublishTime: died, Error: "no binding matched", Body: "0a0548656c6c6f"}
	queues.SetSnapshot(s)
	return queues.AddDeadLetters(recording, recording, recording, unroutable)
}

func TestDeadLettersAreListedAndShown(t *testing.T) {
	b, queues := open(t)
	ids := addDeadLetters(queues)
	b.Get("/queue/dead-letters").Is(200, "moov atom &lt;not&gt; found", "no binding matched", "media.recording · 3", "Unroutable · 2",
		fmt.Sprintf(`href="/queue/dead-letters/unroutable/%d"`, ids[3])).Lacks("Redrive all")
	b.Get("/queue/dead-letters?queue=media.recording").Is(200, "Redrive all", `action="/queue/dead-letters/media.recording/redrive"`,
		`href="/queue/dead-letters/media.recording/discard?all=yes"`, "20 deliveries").Lacks("no binding matched")
	b.Get("/queue/dead-letters?queue=unroutable").Is(200, "no binding matched", `action="/queue/dead-letters/unroutable/redrive"`).Lacks("moov")
	b.Get("/queue/dead-letters?queue=talks.media-ready").Is(200, "All good")
	b.Get(fmt.Sprintf("/queue/dead-letters/media.recording/%d", ids[0])).Is(200, "moov atom &lt;not&gt; found", "&#34;operation&#34;: &#34;operations/7&#34;",
		"4bf92f3577b34da6a3ce929d0e0e4736", "worker-8", "Delivery 19 on", "Showing the latest 2 of 20.", "Header kind")
	b.Get(fmt.Sprintf("/queue/dead-letters/unroutable/%d", ids[3])).Is(200, "purple", "0a0548656c6c6f", "routes the message again").Lacks("Failed deliveries")
	b.Get("/queue/dead-letters/media.recording/999").Is(404, "There is no such dead letter")
	b.Get("/queue/dead-letters/media.recording/nonsense").Is(404)
}

func TestDeadLettersArePaged(t *testing.T) {
	b, queues := open(t)
	var letters []*queuepb.DeadLetter
	for i := range 35 {
		letters = append(letters, &queuepb.DeadLetter{Queue: "media.recording", Type: "operation.started", Error: fmt.Sprintf("error number %d.", i)})
	}
	queues.AddDeadLetters(letters...)
	first := b.Get("/queue/dead-letters?queue=media.recording").Is(200, "error number 34.", "error number 5.", "page_token=6").Lacks("error number 4.")
	if !strings.Contains(first.Text, "queue=media.recording") {
		t.Error("got a next page without the queue, want queue=media.recording")
	}
	b.Get("/queue/dead-letters?queue=media.recording&page_token=6").Is(200, "error number 4.", "error number 0.").Lacks("Next")
}

func TestRedriveRedirectsWithCount(t *testing.T) {
	b, queues := open(t)
	ids := addDeadLetters(queues)
	one := url.Values{"id": {fmt.Sprint(ids[0])}}
	b.Post("/queue/dead-letters/media.recording/redrive", one).RedirectsTo("/queue/dead-letters?queue=media.recording&redriven=1")
	b.Get("/queue/dead-letters?queue=media.recording&redriven=1").Is(200, "1 dead letter redriven.")
	b.Post("/queue/dead-letters/media.recording/redrive", one).RedirectsTo("/queue/dead-letters?queue=media.recording&redriven=0")
	b.Get("/queue/dead-letters?queue=media.recording&redriven=0").Is(200, "already redriven or discarded")
	b.Post("/queue/dead-letters/media.recording/redrive", url.Values{"all": {"yes"}}).RedirectsTo("/queue/dead-letters?queue=media.recording&redriven=2")
	b.Post("/queue/dead-letters/unroutable/redrive", url.Values{"all": {"yes"}}).RedirectsTo("/queue/dead-letters?queue=unroutable&redriven=1")
	b.Post("/queue/dead-letters/media.recording/redrive", nil).Is(400, "Select one or more dead letters")
	b.Post("/queue/dead-letters/media.recording/redrive", url.Values{"id": {"x"}}).Is(404)
	b.Send(http.MethodPost, "/queue/dead-letters/media.recording/redrive", strings.NewReader("all=yes"),
		"Content-Type", "application/x-www-form-urlencoded", "Sec-Fetch-Site", "cross-site").Is(403, "That came from another site")
}

func TestDiscardAsksForConfirmation(t *testing.T) {
	b, queues := open(t)
	ids := addDeadLetters(queues)
	one := fmt.Sprint(ids[0])
	b.Get("/queue/dead-letters/media.recording/discard?id="+one).Is(200, "Discard 1 dead letter?", `name="id" value="`+one+`"`,
		`action="/queue/dead-letters/media.recording/discard"`, `href="/queue/dead-letters/media.recording/`+one+`"`)
	b.Get("/queue/dead-letters/media.recording/discard?all=yes").Is(200, "Discard 3 dead letters?", `name="all"`)
	b.Get("/queue/dead-letters/unroutable/discard?all=yes").Is(200, "Discard 2 dead letters?")
	b.Get("/queue/dead-letters/media.recording/discard").Is(400)
	b.Post("/queue/dead-letters/media.recording/discard", url.Values{"id": {one}}).RedirectsTo("/queue/dead-letters?queue=media.recording&discarded=1")
	b.Post("/queue/dead-letters/media.recording/discard", url.Values{"all": {"yes"}}).RedirectsTo("/queue/dead-letters?queue=media.recording&discarded=2")
	b.Get("/queue/dead-letters?queue=media.recording&discarded=2").Is(200, "2 dead letters discarded.", "All good")
}

func TestSendPublishesTestMessage(t *testing.T) {
	b, _ := open(t)
	b.Get("/queue").Is(200, `action="/queue/tests"`, "word by word", `value="test.fanout"`, "every message")
	b.Get("/queue/tests").Is(200, `action="/queue/tests"`, "equals the routing key").Lacks("http-equiv")
	form := url.Values{
		"exchange": {"test.headers"}, "routing_key": {" colour.blue "}, "headers": {"size = large\r\n\r\ncolour=blue=green"}, "priority": {"7"},
		"delay": {"90"}, "text": {"Hello <there>"}, "failing_deliveries": {"2"}, "reject": {"yes"},
	}
	b.Post("/queue/tests", form).RedirectsTo("/queue/tests/1")
	m := b.Logic.Calls(queuepb.Queues_SendTestMessage_FullMethodName)[0].Request.(*queuepb.SendTestMessageRequest)
	if m.Exchange != "test.headers" || m.RoutingKey != "colour.blue" || m.Headers["size"] != "large" || m.Headers["colour"] != "blue=green" || len(m.Headers) != 2 ||
		m.Priority != 7 || m.Delay.AsDuration() != 90*time.Second || m.Text != "Hello <there>" || m.FailingDeliveries != 2 || !m.Reject {
		t.Errorf("got request %v, want the fields of the form", m)
	}
	// The form can be filled in with a sent message.
	b.Get("/queue/tests?like=1").Is(200, `value="test.headers" checked`, "colour=blue=green\nsize=large", `value="90"`, `value="Hello &lt;there&gt;"`, `value="yes" checked`)
	b.Get("/queue/tests?like=9").Is(200, `value="test.direct" checked`)
}

func TestSendKeepsFormWhenRejected(t *testing.T) {
	b, _ := open(t)
	for _, c := range []struct{ field, value, want string }{
		{"headers", "a=1\nb", "Line 2 is not a header; use key=value."},
		{"headers", "a=1\na=2", "Line 2 repeats the header &#34;a&#34;; use it once."},
		{"headers", "=1", "Line 1 is not a header"},
		{"headers", "a.b=" + strings.Repeat("x", 101), "Use at most 100 characters."},
		{"priority", "much", "Use a whole number."},
		{"priority", "10", "Use 0 to 9."},
		{"failing_deliveries", "21", "Use 0 to 20."},
		{"delay", "1.5", "Use a whole number."},
		{"exchange", "", "Choose an exchange."},
		{"exchange", "operations", "There is no such test exchange"},
	} {
		form := url.Values{"exchange": {"test.topic"}, "routing_key": {"kept.as.typed"}, "text": {"kept, too"}}
		form.Set(c.field, c.value)
		b.Post("/queue/tests", form).Is(422, c.want, "kept.as.typed", "kept, too").Lacks("http-equiv")
	}
	logictest.Answer(b.Logic, queuepb.Queues_SendTestMessage_FullMethodName, func(context.Context, *queuepb.SendTestMessageRequest) (*queuepb.SendTestMessageResponse, error) {
		return nil, logictest.Refusal(codes.Unavailable, "DATABASE_UNAVAILABLE", "database unavailable")
	})
	b.Post("/queue/tests", url.Values{"exchange": {"test.topic"}, "text": {"kept"}}).Is(503, "is not responding", `value="kept"`)
}

func TestShowTestRendersProgress(t *testing.T) {
	b, queues := open(t)
	b.Post("/queue/tests", url.Values{"exchange": {"test.topic"}, "routing_key": {"colour.blue.large"}, "text": {"<Hello>"}})
	b.Get("/queue/tests/1").Is(200, "No binding of test.topic matches", "No deliveries yet.", "&lt;Hello&gt;", "http-equiv", "testmessage.")
	queues.SetMatchingBindings(1, &queuepb.Binding{Exchange: "test.topic", Queue: "test.blue", Pattern: "colour.blue.#"},
		&queuepb.Binding{Exchange: "test.topic", Queue: "test.green", Pattern: "colour.*.large"})
	b.Get("/queue/tests/1").Is(200, "Routed to 2 queues, settled in 0 of them.", "Awaiting delivery", "Not routed here")
	deliver := func(queue string, count int32, outcome string) {
		queues.AddDelivery(1, &queuepb.TestDelivery{Queue: queue, DeliveryCount: count, Host: "logic-1", Process: "logic-1-4711-ab12", Outcome: outcome, Time: timestamppb.Now()})
	}
	deliver("test.blue", 1, "failed")
	b.Get("/queue/tests/1").Is(200, "Failed once, retrying")
	deliver("test.blue", 2, "acknowledged")
	deliver("test.green", 1, "rejected")
	b.Get("/queue/tests/1").Is(200, "Routed to 2 queues and settled.", "Acknowledged on delivery 2", "Rejected: dead-lettered", "logic-1-4711-ab12",
		`href="/queue/dead-letters?queue=test.green"`).Lacks("http-equiv", "testmessage.")
	b.Get("/queue/tests/9").Is(404, "There is no such test message")
	b.Get("/queue/tests/x").Is(404)
}

func TestShowTestRendersDelayedMessage(t *testing.T) {
	b, queues := open(t)
	b.Post("/queue/tests", url.Values{"exchange": {"test.direct"}, "routing_key": {"blue"}, "delay": {"30"}})
	queues.SetMatchingBindings(1, &queuepb.Binding{Exchange: "test.direct", Queue: "test.blue", Pattern: "blue"})
	b.Get("/queue/tests/1").Is(200, "Delayed for 30 s in 1 queue.")
}
