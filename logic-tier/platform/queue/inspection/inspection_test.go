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

// patience bounds every wait for a condition.
const patience = 3 * time.Minute

// site is the service beside a module that says what a talk is.
type site struct {
	t        *testing.T
	database *postgrestest.Database
	module   *postgres.DB
}

// process is one process of it.
type process struct {
	*site
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

func newSite(t *testing.T) *site {
	database := postgrestest.New(t)
	return &site{t: t, database: database, module: database.Open("talks")}
}

// start runs a process that consumes, until the end of the test.
func (s *site) start(consumers ...queue.Consumer) *process {
	s.t.Helper()
	log := slog.New(slog.DiscardHandler)
	db := s.database.Open("queue")
	p := &process{site: s, engine: postgresqueue.New(db, s.database.Options("queue"), log)}
	p.service = inspection.New(inspection.Needs{
		DB: db, Broker: p.engine, Engine: postgresqueue.Engine, Up: p.engine.Up, Registry: p.engine.Registry(),
		Topologies: []queue.Topology{talks}, Log: log,
	})
	if err := p.engine.Declare(s.t.Context(), talks, inspection.Topology()); err != nil {
		s.t.Fatal(err)
	}
	channel := new(inprocgrpc.Channel)
	p.service.Register(channel)
	p.client = queuepb.NewQueuesClient(channel)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	run := func(do func(context.Context) error) {
		running.Go(func() {
			if err := do(ctx); err != nil {
				s.t.Error(err)
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
	s.t.Cleanup(p.stop)
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

func (s *site) until(what string, is func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("in %s it does not come: %s", patience, what)
		}
	}
}

func of(s *queuepb.Snapshot, name string) *queuepb.Queue {
	i := slices.IndexFunc(s.Queues, func(q *queuepb.Queue) bool { return q.Name == name })
	return s.Queues[i]
}

// watch follows the queues until seen says that it has.
func (p *process) watch(what string, seen func(*queuepb.Snapshot) bool) {
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
			p.t.Fatalf("%s does not come: %v", what, err)
		}
		if seen(response.Snapshot) {
			return
		}
	}
}

func TestWhatIsInTheQueuesIsSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	hold := make(chan struct{})
	p := s.start(queue.Consumer{Queue: "listeners", Prefetch: 2, Concurrency: 1, Handle: func(ctx context.Context, d queue.Delivery) error {
		if d.RoutingKey == "talk.poison" {
			return queue.Reject(context.DeadlineExceeded)
		}
		select {
		case <-hold:
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
		q := of(s, "listeners")
		return q.ReadyCount == 3 && q.UnacknowledgedCount == 2 && q.OldestPublishTime != nil && q.DeadLetterCount == 1 &&
			s.UnroutableCount == 1 && s.BrokerUp && s.Engine == "postgres" && len(q.Consumers) == 1 && q.Consumers[0].HeldCount == 2 &&
			q.Consumers[0].Prefetch == 2 && q.Consumers[0].Concurrency == 1
	})
	close(hold)
	p.watch("an empty queue, and what was worked", func(s *queuepb.Snapshot) bool {
		q := of(s, "listeners")
		return q.ReadyCount+q.UnacknowledgedCount == 0 && q.OldestPublishTime == nil && q.Consumers[0].AcknowledgedCount == 5 && q.OutRate > 0
	})
	p.watch("quiet", func(s *queuepb.Snapshot) bool { q := of(s, "listeners"); return q.OutRate == 0 && q.InRate == 0 })
}

func TestTheTopologyIsSeen(t *testing.T) {
	t.Parallel()
	p := newSite(t).start()
	response, err := p.client.GetQueues(t.Context(), &queuepb.GetQueuesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]bool{}
	for _, e := range response.Snapshot.Exchanges {
		if e.Name == "talks" && (e.Test || e.Type != "topic" || !slices.Equal(e.Producers, []string{"talks"})) {
			t.Errorf("the exchange is %v", e)
		}
		types[e.Type] = true
	}
	if want := []string{"direct", "fanout", "headers", "topic"}; !slices.Equal(slices.Sorted(maps.Keys(types)), want) {
		t.Errorf("there are exchanges of the types %v", types)
	}
	if !slices.ContainsFunc(response.Snapshot.Bindings, func(b *queuepb.Binding) bool {
		return b.Exchange == "test.headers" && b.Queue == "test.blue" && b.Pattern == "all: colour=blue, size=large"
	}) {
		t.Errorf("the bindings are %v", response.Snapshot.Bindings)
	}
	if q := of(response.Snapshot, "test.every-process"); !q.Exclusive || !q.Test {
		t.Errorf("the exclusive queue is %v", q)
	}
}

func TestATestMessageShowsItsWay(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.start()
	s.start() // another process consumes, too
	for _, c := range []struct {
		says    *queuepb.SendTestMessageRequest
		reaches []string
	}{
		{&queuepb.SendTestMessageRequest{Exchange: "test.direct", RoutingKey: "blue"}, []string{"test.blue"}},
		{&queuepb.SendTestMessageRequest{Exchange: "test.topic", RoutingKey: "colour.blue.large"}, []string{"test.blue", "test.green"}},
		{&queuepb.SendTestMessageRequest{Exchange: "test.headers", Headers: map[string]string{"size": "large"}}, []string{"test.green"}},
		{&queuepb.SendTestMessageRequest{Exchange: "test.fanout", Text: "to all"}, []string{"test.blue", "test.every-process", "test.every-process", "test.green"}},
	} {
		// An exclusive queue is there a moment after its process.
		s.until("both processes' own queues", func() bool {
			response, err := first.client.GetQueues(t.Context(), &queuepb.GetQueuesRequest{})
			if err != nil {
				t.Fatal(err)
			}
			return len(of(response.Snapshot, "test.every-process").Consumers) == 2
		})
		sent, err := first.client.SendTestMessage(t.Context(), c.says)
		if err != nil {
			t.Fatal(err)
		}
		var became *queuepb.GetTestMessageResponse
		s.until("its deliveries", func() bool {
			became, err = first.client.GetTestMessage(t.Context(), &queuepb.GetTestMessageRequest{Id: sent.Id})
			if err != nil {
				t.Fatal(err)
			}
			return len(became.Deliveries) >= len(c.reaches)
		})
		var queues []string
		bound := map[string]bool{}
		for _, d := range became.Deliveries {
			queues = append(queues, d.Queue)
			if d.Outcome != "acknowledged" || d.DeliveryCount != 1 || d.Host == "" {
				t.Errorf("a delivery is %v", d)
			}
		}
		for _, b := range became.MatchingBindings {
			bound[b.Queue] = true
		}
		slices.Sort(queues)
		if !slices.Equal(queues, c.reaches) || !slices.Equal(slices.Sorted(maps.Keys(bound)), slices.Compact(slices.Clone(c.reaches))) {
			t.Errorf("%v was delivered from %v, bound to %v; want %v", c.says, queues, bound, c.reaches)
		}
		if became.Message.Exchange != c.says.Exchange || became.Message.Text != c.says.Text || became.SendTime == nil {
			t.Errorf("it was sent as %v", became.Message)
		}
	}
	_, err := first.client.SendTestMessage(t.Context(), &queuepb.SendTestMessageRequest{Exchange: "talks"})
	if err == nil || !strings.Contains(err.Error(), "test.direct, test.topic, test.fanout, test.headers") {
		t.Errorf("a message to an exchange that is in use: %v; want the names of the test exchanges", err)
	}
}

func TestDeadLettersAreReadRedrivenAndDiscarded(t *testing.T) {
	t.Parallel()
	p := newSite(t).start()
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
	ofBlue := &queuepb.ListDeadLettersRequest{Queue: "test.blue"}
	poison := send(&queuepb.SendTestMessageRequest{FailingDeliveries: 20, Text: "fails"})
	p.until("a dead letter", func() bool { return len(list(ofBlue).DeadLetters) == 1 })
	rejected := send(&queuepb.SendTestMessageRequest{Reject: true})
	p.until("another", func() bool { return len(list(ofBlue).DeadLetters) == 2 })
	p.publish("nowhere")

	one := list(&queuepb.ListDeadLettersRequest{Queue: "test.blue", PageSize: 1})
	if len(one.DeadLetters) != 1 || one.DeadLetters[0].Id != rejected || one.DeadLetters[0].Error != "the test message asks to be rejected" {
		t.Errorf("the latest is %v", one.DeadLetters)
	}
	next := list(&queuepb.ListDeadLettersRequest{Queue: "test.blue", PageSize: 1, PageToken: one.NextPageToken})
	if len(next.DeadLetters) != 1 || next.DeadLetters[0].Id != poison || next.NextPageToken != "" {
		t.Errorf("the one before is %v", next)
	}
	if all := list(&queuepb.ListDeadLettersRequest{}); len(all.DeadLetters) != 3 {
		t.Errorf("there are %d of all queues", len(all.DeadLetters))
	}
	if lost := list(&queuepb.ListDeadLettersRequest{Unroutable: true}); len(lost.DeadLetters) != 1 || lost.DeadLetters[0].RoutingKey != "nowhere" {
		t.Errorf("those that no binding matched are %v", lost)
	}
	whole, err := p.client.GetDeadLetter(t.Context(), &queuepb.GetDeadLetterRequest{Queue: "test.blue", Id: poison})
	if err != nil {
		t.Fatal(err)
	}
	l := whole.DeadLetter
	if l.DeliveryCount != 5 || len(l.History) != 5 || l.History[4].DeliveryCount != 5 || l.History[0].Host == "" || l.Headers["why"] != "a test" ||
		!strings.Contains(l.Body, `"fails"`) || !strings.Contains(l.Error, "asks for deliveries that fail") {
		t.Errorf("the poison message is %v", l)
	}

	for what, ask := range map[string]*queuepb.RedriveDeadLettersRequest{"nothing": {Queue: "test.blue"}, "both": {Queue: "test.blue", Ids: []int64{1}, All: true}} {
		if _, err := p.client.RedriveDeadLetters(t.Context(), ask); err == nil || !strings.Contains(err.Error(), "or say all") {
			t.Errorf("asked for %s: %v", what, err)
		}
	}
	redriven, err := p.client.RedriveDeadLetters(t.Context(), &queuepb.RedriveDeadLettersRequest{Queue: "test.blue", Ids: []int64{rejected}})
	if err != nil || redriven.RedrivenCount != 1 {
		t.Fatalf("%v, %v", redriven, err)
	}
	p.until("it to die again, with a longer history", func() bool {
		again, err := p.client.GetDeadLetter(t.Context(), &queuepb.GetDeadLetterRequest{Queue: "test.blue", Id: rejected})
		return err == nil && len(again.DeadLetter.History) == 2
	})
	discarded, err := p.client.DiscardDeadLetters(t.Context(), &queuepb.DiscardDeadLettersRequest{Queue: "test.blue", All: true})
	if err != nil || discarded.DiscardedCount != 2 {
		t.Errorf("%v, %v", discarded, err)
	}
	_, err = p.client.GetDeadLetter(t.Context(), &queuepb.GetDeadLetterRequest{Queue: "test.blue", Id: poison})
	var refused *apperror.Failure
	if ok := errors.As(err, &refused); !ok && status.Code(err) != codes.NotFound {
		t.Errorf("a discarded letter: %v", err)
	} else if ok && refused.Kind != apperror.NotFound {
		t.Errorf("a discarded letter: %v", err)
	}
}

func TestADelayedTestMessageWaits(t *testing.T) {
	t.Parallel()
	p := newSite(t).start()
	sent, err := p.client.SendTestMessage(t.Context(), &queuepb.SendTestMessageRequest{Exchange: "test.direct", RoutingKey: "blue", Delay: durationpb.New(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	p.watch("it among the delayed", func(s *queuepb.Snapshot) bool { return of(s, "test.blue").DelayedCount == 1 })
	became, err := p.client.GetTestMessage(t.Context(), &queuepb.GetTestMessageRequest{Id: sent.Id})
	if err != nil || len(became.Deliveries) != 0 || len(became.MatchingBindings) != 1 {
		t.Errorf("%v, %v", became, err)
	}
}

func TestWhoWatchesIsToldWhenTheServerDrains(t *testing.T) {
	t.Parallel()
	p := newSite(t).start()
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
	if !strings.Contains(err.Error(), "going away") {
		t.Errorf("the stream ends with %v", err)
	}
}
