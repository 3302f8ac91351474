package inspection_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fullstorydev/grpchan/inprocgrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/inspection"
	"techtalks.example/logic-tier/platform/queue/postgresqueue"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

// patience bounds each wait for a condition.
const patience = 3 * time.Minute

// fixture is a database with a module that publishes.
type fixture struct {
	t        *testing.T
	database *postgrestest.Database
	module   *postgres.DB
}

// process is a logic tier process that serves and consumes.
type process struct {
	*fixture
	engine  *postgresqueue.Queue
	service *inspection.Service
	client  queuepb.QueuesClient
	stop    func()
}

var talks = queue.Topology{
	Module: "talks", Publishes: []string{"talks"},
	Exchanges: []queue.Exchange{{Name: "talks", Type: queue.Topic}},
	Queues:    []queue.Queue{{Name: "listeners", Bindings: []queue.Binding{{Exchange: "talks", Pattern: "talk.#"}}}},
}

func newFixture(t *testing.T) *fixture {
	database := postgrestest.New(t)
	return &fixture{t: t, database: database, module: database.Open("talks")}
}

// start runs a process with these consumers until the test ends.
func (f *fixture) start(consumers ...queue.Consumer) *process {
	f.t.Helper()
	log := slog.New(slog.DiscardHandler)
	db := f.database.Open("queue")
	p := &process{fixture: f, engine: postgresqueue.New(db, f.database.Options("queue"), log)}
	p.service = inspection.New(inspection.Deps{
		DB: db, Broker: p.engine, Engine: postgresqueue.Engine, BrokerHealth: p.engine.Up, Registry: p.engine.Registry(),
		Topologies: []queue.Topology{talks}, Log: log,
	})
	if err := p.engine.Declare(f.t.Context(), talks, inspection.Topology()); err != nil {
		f.t.Fatal(err)
	}
	channel := new(inprocgrpc.Channel)
	p.service.Register(channel)
	p.client = queuepb.NewQueuesClient(channel)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	run := func(do func(context.Context) error) {
		running.Go(func() {
			if err := do(ctx); err != nil {
				f.t.Error(err)
			}
		})
	}
	run(p.engine.Run)
	run(p.service.Run)
	for _, c := range append(p.service.Consumers(), consumers...) {
		run(func(ctx context.Context) error { return p.engine.Consume(ctx, c) })
	}
	p.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	f.t.Cleanup(p.stop)
	return p
}

func (p *process) publish(key string) {
	p.t.Helper()
	err := p.module.InTransaction(p.t.Context(), func(tx *postgres.Tx) error {
		_, err := p.engine.Publish(p.t.Context(), tx, queue.Message{Exchange: "talks", RoutingKey: key, Type: "test.message", Body: &queuepb.TestMessage{Text: "Looms"}})
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// until waits until ok reports true.
func (f *fixture) until(condition string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("timed out after %s waiting for %s", patience, condition)
		}
	}
}

func findQueue(s *queuepb.Snapshot, name string) *queuepb.Queue {
	i := slices.IndexFunc(s.Queues, func(q *queuepb.Queue) bool { return q.Name == name })
	return s.Queues[i]
}

// watch watches the queues until a snapshot satisfies ok.
func (p *process) watch(condition string, ok func(*queuepb.Snapshot) bool) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	call, err := p.client.WatchQueues(ctx, &queuepb.WatchQueuesRequest{})
	if err != nil {
		p.t.Fatal(err)
	}
	for {
		response, err := call.Recv()
		if err != nil {
			p.t.Fatalf("waiting for %s: %v", condition, err)
		}
		if ok(response.Snapshot) {
			return
		}
	}
}

func TestWatchQueues_ReportsDepthsRatesAndConsumers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	finish := make(chan struct{})
	p := f.start(queue.Consumer{Queue: "listeners", Prefetch: 2, Concurrency: 1, Handle: func(ctx context.Context, d queue.Delivery) error {
		if d.RoutingKey == "talk.poison" {
			return queue.Reject(context.DeadlineExceeded)
		}
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return ctx.Err()
	}})
	p.publish("talk.poison")
	for range 5 {
		p.publish("talk.published")
	}
	p.publish("nowhere")
	p.watch("a backlog", func(s *queuepb.Snapshot) bool {
		q := findQueue(s, "listeners")
		return q.ReadyCount == 3 && q.UnacknowledgedCount == 2 && q.OldestPublishTime != nil && q.DeadLetterCount == 1 &&
			s.UnroutableCount == 1 && s.BrokerUp && s.Engine == "postgres" && len(q.Consumers) == 1 && q.Consumers[0].HeldCount == 2 &&
			q.Consumers[0].Prefetch == 2 && q.Consumers[0].Concurrency == 1
	})
	close(finish)
	p.watch("an empty queue and the rate of acknowledgements", func(s *queuepb.Snapshot) bool {
		q := findQueue(s, "listeners")
		return q.ReadyCount+q.UnacknowledgedCount == 0 && q.OldestPublishTime == nil && q.Consumers[0].AcknowledgedCount == 5 && q.OutRate > 0
	})
	p.watch("rates of zero", func(s *queuepb.Snapshot) bool { q := findQueue(s, "listeners"); return q.OutRate == 0 && q.InRate == 0 })
}

func TestGetQueues_ReturnsTopology(t *testing.T) {
	t.Parallel()
	p := newFixture(t).start()
	response, err := p.client.GetQueues(t.Context(), &queuepb.GetQueuesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, e := range response.Snapshot.Exchanges {
		if e.Name == "talks" && (e.Test || e.Type != "topic" || !slices.Equal(e.Producers, []string{"talks"})) {
			t.Errorf("got exchange %v, want a topic exchange with the producer talks", e)
		}
		types[e.Type] = true
	}
	if want := []string{"direct", "fanout", "headers", "topic"}; !slices.Equal(slices.Sorted(maps.Keys(types)), want) {
		t.Errorf("got exchange types %v, want %v", types, want)
	}
	if !slices.ContainsFunc(response.Snapshot.Bindings, func(b *queuepb.Binding) bool {
		return b.Exchange == "test.headers" && b.Queue == "test.blue" && b.Pattern == "all: colour=blue, size=large"
	}) {
		t.Errorf("got bindings %v, want one with the headers of test.blue", response.Snapshot.Bindings)
	}
	if q := findQueue(response.Snapshot, "test.every-process"); !q.Exclusive || !q.Test {
		t.Errorf("got %v, want an exclusive test queue", q)
	}
}

func TestSendTestMessage_RecordsBindingsAndDeliveries(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	first := f.start()
	f.start() // a second consumer of each queue
	for _, c := range []struct {
		request *queuepb.SendTestMessageRequest
		want    []string // the queues of the deliveries
	}{
		{&queuepb.SendTestMessageRequest{Exchange: "test.direct", RoutingKey: "blue"}, []string{"test.blue"}},
		{&queuepb.SendTestMessageRequest{Exchange: "test.topic", RoutingKey: "colour.blue.large"}, []string{"test.blue", "test.green"}},
		{&queuepb.SendTestMessageRequest{Exchange: "test.headers", Headers: map[string]string{"size": "large"}}, []string{"test.green"}},
		{&queuepb.SendTestMessageRequest{Exchange: "test.fanout", Text: "to all"}, []string{"test.blue", "test.every-process", "test.every-process", "test.green"}},
	} {
		// A process creates its exclusive queue some time after its start.
		f.until("the exclusive queues of both processes", func() bool {
			response, err := first.client.GetQueues(t.Context(), &queuepb.GetQueuesRequest{})
			if err != nil {
				t.Fatal(err)
			}
			return len(findQueue(response.Snapshot, "test.every-process").Consumers) == 2
		})
		sent, err := first.client.SendTestMessage(t.Context(), c.request)
		if err != nil {
			t.Fatal(err)
		}
		var got *queuepb.GetTestMessageResponse
		f.until("the deliveries", func() bool {
			got, err = first.client.GetTestMessage(t.Context(), &queuepb.GetTestMessageRequest{Id: sent.Id})
			if err != nil {
				t.Fatal(err)
			}
			return len(got.Deliveries) >= len(c.want)
		})
		var queues []string
		bound := map[string]bool{}
		for _, d := range got.Deliveries {
			queues = append(queues, d.Queue)
			if d.Outcome != "acknowledged" || d.DeliveryCount != 1 || d.Host == "" {
				t.Errorf("got %v, want a first delivery that was acknowledged", d)
			}
		}
		for _, b := range got.MatchingBindings {
			bound[b.Queue] = true
		}
		slices.Sort(queues)
		if !slices.Equal(queues, c.want) || !slices.Equal(slices.Sorted(maps.Keys(bound)), slices.Compact(slices.Clone(c.want))) {
			t.Errorf("%v: got deliveries from %v and bindings of %v, want %v", c.request, queues, bound, c.want)
		}
		if got.Message.Exchange != c.request.Exchange || got.Message.Text != c.request.Text || got.SendTime == nil {
			t.Errorf("got message %v, want %v", got.Message, c.request)
		}
	}
	_, err := first.client.SendTestMessage(t.Context(), &queuepb.SendTestMessageRequest{Exchange: "talks"})
	if err == nil || !strings.Contains(err.Error(), "test.direct, test.topic, test.fanout, test.headers") {
		t.Errorf("test message to a module's exchange: got %v, want an error with the names of the test exchanges", err)
	}
}

func TestDeadLetters_AreListedRedrivenAndDiscarded(t *testing.T) {
	t.Parallel()
	p := newFixture(t).start()
	send := func(m *queuepb.SendTestMessageRequest) int64 {
		t.Helper()
		m.Exchange, m.RoutingKey, m.Headers = "test.direct", "blue", map[string]string{"why": "a test"}
		sent, err := p.client.SendTestMessage(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		return sent.Id
	}
	list := func(r *queuepb.ListDeadLettersRequest) *queuepb.ListDeadLettersResponse {
		t.Helper()
		response, err := p.client.ListDeadLetters(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	inBlue := &queuepb.ListDeadLettersRequest{Queue: "test.blue"}
	poison := send(&queuepb.SendTestMessageRequest{FailingDeliveries: 20, Text: "fails"})
	p.until("a dead letter", func() bool { return len(list(inBlue).DeadLetters) == 1 })
	rejected := send(&queuepb.SendTestMessageRequest{Reject: true})
	p.until("a second dead letter", func() bool { return len(list(inBlue).DeadLetters) == 2 })
	p.publish("nowhere")

	first := list(&queuepb.ListDeadLettersRequest{Queue: "test.blue", PageSize: 1})
	if len(first.DeadLetters) != 1 || first.DeadLetters[0].Id != rejected || first.DeadLetters[0].Error != "the test message asks to be rejected" {
		t.Errorf("first page: got %v, want the rejected message", first.DeadLetters)
	}
	next := list(&queuepb.ListDeadLettersRequest{Queue: "test.blue", PageSize: 1, PageToken: first.NextPageToken})
	if len(next.DeadLetters) != 1 || next.DeadLetters[0].Id != poison || next.NextPageToken != "" {
		t.Errorf("second page: got %v, want the poison message and no further page", next)
	}
	if all := list(&queuepb.ListDeadLettersRequest{}); len(all.DeadLetters) != 3 {
		t.Errorf("got %d dead letters of all queues, want 3", len(all.DeadLetters))
	}
	if unroutable := list(&queuepb.ListDeadLettersRequest{Unroutable: true}); len(unroutable.DeadLetters) != 1 || unroutable.DeadLetters[0].RoutingKey != "nowhere" {
		t.Errorf("got unroutable messages %v, want the one with the key nowhere", unroutable)
	}
	found, err := p.client.GetDeadLetter(t.Context(), &queuepb.GetDeadLetterRequest{Queue: "test.blue", Id: poison})
	if err != nil {
		t.Fatal(err)
	}
	l := found.DeadLetter
	if l.DeliveryCount != 5 || len(l.History) != 5 || l.History[4].DeliveryCount != 5 || l.History[0].Host == "" || l.Headers["why"] != "a test" ||
		!strings.Contains(l.Body, `"fails"`) || !strings.Contains(l.Error, "asks for deliveries that fail") {
		t.Errorf("got poison message %v, want 5 deliveries with their history", l)
	}

	for name, request := range map[string]*queuepb.RedriveDeadLettersRequest{"neither ids nor all": {Queue: "test.blue"}, "ids and all": {Queue: "test.blue", Ids: []int64{1}, All: true}} {
		if _, err := p.client.RedriveDeadLetters(t.Context(), request); err == nil || !strings.Contains(err.Error(), "or set all") {
			t.Errorf("%s: got %v, want an error that names both", name, err)
		}
	}
	redriven, err := p.client.RedriveDeadLetters(t.Context(), &queuepb.RedriveDeadLettersRequest{Queue: "test.blue", Ids: []int64{rejected}})
	if err != nil || redriven.RedrivenCount != 1 {
		t.Fatalf("redrive: got %v, %v; want 1", redriven, err)
	}
	p.until("the same dead letter with a longer history", func() bool {
		again, err := p.client.GetDeadLetter(t.Context(), &queuepb.GetDeadLetterRequest{Queue: "test.blue", Id: rejected})
		return err == nil && len(again.DeadLetter.History) == 2
	})
	discarded, err := p.client.DiscardDeadLetters(t.Context(), &queuepb.DiscardDeadLettersRequest{Queue: "test.blue", All: true})
	if err != nil || discarded.DiscardedCount != 2 {
		t.Errorf("discard: got %v, %v; want 2", discarded, err)
	}
	_, err = p.client.GetDeadLetter(t.Context(), &queuepb.GetDeadLetterRequest{Queue: "test.blue", Id: poison})
	var failure *apperror.Failure
	if ok := errors.As(err, &failure); !ok && status.Code(err) != codes.NotFound || ok && failure.Kind != apperror.NotFound {
		t.Errorf("discarded dead letter: got %v, want not found", err)
	}
}

func TestSendTestMessage_CountsAsDelayedUntilDue(t *testing.T) {
	t.Parallel()
	p := newFixture(t).start()
	sent, err := p.client.SendTestMessage(t.Context(), &queuepb.SendTestMessageRequest{Exchange: "test.direct", RoutingKey: "blue", Delay: durationpb.New(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	p.watch("a delayed message", func(s *queuepb.Snapshot) bool { return findQueue(s, "test.blue").DelayedCount == 1 })
	got, err := p.client.GetTestMessage(t.Context(), &queuepb.GetTestMessageRequest{Id: sent.Id})
	if err != nil || len(got.Deliveries) != 0 || len(got.MatchingBindings) != 1 {
		t.Errorf("got %v, %v; want one binding and no delivery", got, err)
	}
}

func TestWatchQueues_EndsWhenServerDrains(t *testing.T) {
	t.Parallel()
	p := newFixture(t).start()
	call, err := p.client.WatchQueues(t.Context(), &queuepb.WatchQueuesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := call.Recv(); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() { defer close(stopped); p.stop() }()
	for err == nil {
		_, err = call.Recv()
	}
	<-stopped
	if !strings.Contains(err.Error(), "shutting down") {
		t.Errorf("stream: got %v, want an error that the server is shutting down", err)
	}
}
