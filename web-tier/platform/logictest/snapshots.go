package logictest

import (
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// IdleSnapshot returns a snapshot of the site's topology and the test topology. The queues are
// empty, and one process consumes all of them.
func IdleSnapshot() *queuepb.Snapshot {
	s := &queuepb.Snapshot{
		Time: timestamppb.Now(), Engine: "postgres", BrokerUp: true,
		Exchanges: []*queuepb.Exchange{
			{Name: "media", Type: "topic", Producers: []string{"media"}},
			{Name: "operations", Type: "topic", Producers: []string{"operations"}},
			{Name: "talks", Type: "topic", Producers: []string{"talks"}},
			{Name: "test.direct", Type: "direct", Test: true},
			{Name: "test.fanout", Type: "fanout", Test: true},
			{Name: "test.headers", Type: "headers", Test: true},
			{Name: "test.topic", Type: "topic", Test: true},
		},
		Bindings: []*queuepb.Binding{
			{Exchange: "media", Queue: "talks.media-ready", Pattern: "media.ready"},
			{Exchange: "operations", Queue: "media.recording", Pattern: "operation.started.recording"},
			{Exchange: "operations", Queue: "notifications.operation-ended", Pattern: "operation.ended"},
			{Exchange: "operations", Queue: "transfers.export", Pattern: "operation.started.export"},
			{Exchange: "operations", Queue: "transfers.import", Pattern: "operation.started.import"},
			{Exchange: "talks", Queue: "media.talk-withdrawn", Pattern: "talk.withdrawn"},
			{Exchange: "talks", Queue: "notifications.talk-published", Pattern: "talk.published"},
			{Exchange: "test.direct", Queue: "test.blue", Pattern: "blue"},
			{Exchange: "test.direct", Queue: "test.green", Pattern: "green"},
			{Exchange: "test.fanout", Queue: "test.blue"},
			{Exchange: "test.fanout", Queue: "test.green"},
			{Exchange: "test.fanout", Queue: "test.every-process"},
			{Exchange: "test.headers", Queue: "test.blue", Pattern: "all: colour=blue, size=large"},
			{Exchange: "test.headers", Queue: "test.green", Pattern: "any: colour=green, size=large"},
			{Exchange: "test.topic", Queue: "test.blue", Pattern: "colour.blue.#"},
			{Exchange: "test.topic", Queue: "test.green", Pattern: "colour.*.large"},
		},
	}
	process := &queuepb.Consumer{
		Process: "logic-1-4711-ab12", Host: "logic-1", Prefetch: 16, Concurrency: 4, BeginTime: timestamppb.New(time.Now().Add(-time.Hour)),
	}
	for _, name := range []string{
		"media.recording", "media.talk-withdrawn", "notifications.operation-ended", "notifications.talk-published",
		"talks.media-ready", "transfers.export", "transfers.import",
	} {
		s.Queues = append(s.Queues, &queuepb.Queue{Name: name, DeliveryLimit: 20, Consumers: []*queuepb.Consumer{proto.CloneOf(process)}})
	}
	for _, name := range []string{"test.blue", "test.every-process", "test.green"} {
		s.Queues = append(s.Queues, &queuepb.Queue{
			Name: name, DeliveryLimit: 5, Test: true, Exclusive: name == "test.every-process", Consumers: []*queuepb.Consumer{proto.CloneOf(process)},
		})
	}
	return s
}

// BusySnapshot returns a snapshot of RabbitMQ with queues in each state: flowing, growing,
// without consumers, and with dead letters.
func BusySnapshot() *queuepb.Snapshot {
	s := IdleSnapshot()
	s.Engine, s.OutboxCount, s.OutboxOldestPublishTime, s.UnroutableCount = "rabbitmq", 12, timeBefore(s, 3*time.Second), 2
	worker := func(process string, heldCount int32) *queuepb.Consumer {
		return &queuepb.Consumer{
			Process: process, Host: process[:len("worker-7")], Prefetch: 2, Concurrency: 2, HeldCount: heldCount, AcknowledgedCount: 1234, BeginTime: timeBefore(s, 10*time.Minute),
		}
	}
	for _, q := range s.Queues {
		switch q.Name {
		case "notifications.talk-published":
			q.ReadyCount, q.UnacknowledgedCount, q.InRate, q.OutRate, q.OldestPublishTime = 3, 16, 212.4, 215.1, timeBefore(s, 40*time.Millisecond)
			q.Consumers[0].HeldCount, q.Consumers[0].AcknowledgedCount = 16, 1_234_567
		case "transfers.import":
			q.ReadyCount, q.UnacknowledgedCount, q.InRate, q.OutRate, q.OldestPublishTime = 1204, 4, 35.2, 4.1, timeBefore(s, 95*time.Second)
			q.RedeliveredCount, q.RedeliveryRate = 17, 0.4
			q.Consumers = append(q.Consumers, worker("worker-7-99-cd34", 2), worker("worker-8-99-ef56", 2))
		case "media.recording":
			q.DelayedCount, q.UnacknowledgedCount, q.DeadLetterCount, q.OldestPublishTime = 2, 1, 3, timeBefore(s, 2*time.Hour)
			q.Consumers = append(q.Consumers, worker("worker-7-99-cd34", 1), worker("worker-8-99-ef56", 0))
		case "transfers.export":
			q.ReadyCount, q.InRate, q.OldestPublishTime, q.Consumers = 5, 0.1, timeBefore(s, 26*time.Hour), nil
		}
	}
	return s
}

// timeBefore returns the time d before the snapshot was taken.
func timeBefore(s *queuepb.Snapshot, d time.Duration) *timestamppb.Timestamp {
	return timestamppb.New(s.Time.AsTime().Add(-d))
}
