package rabbitqueue_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/rabbitqueue"
)

func TestMessagePublishedWithoutOutboxIsDeadLettered(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	f.run(f.engine.Run)
	var got recorder
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 1, Handle: got.handle})
	channel := f.rawChannel()
	for _, p := range []amqp.Publishing{
		{Body: []byte("no id")},
		{MessageId: "no number", Type: "a\x00b\xff", Headers: amqp.Table{"n": int32(7), "s": "\xff\x00"}, Priority: 200, Body: []byte{0}},
		{MessageId: "1", Body: make([]byte, queue.MaxBody+1)},
	} {
		if err := channel.PublishWithContext(t.Context(), "", "work", false, false, p); err != nil {
			t.Fatal(err)
		}
	}
	f.publish("valid")
	f.waitFor("the valid message", got.hasAll("valid"))
	f.waitFor("three dead letters", func() bool { return f.count(deadLetterCount, "work") == 3 })
	if n := f.count(`select count(*) from queue.dead_letter where last_error like 'not published through the outbox%publish through the logic tier'`); n != 3 {
		t.Errorf("got %d dead letters whose error names the fix, want 3", n)
	}
	f.waitFor("an empty queue", func() bool {
		depths, err := f.engine.Depths(t.Context())
		return err == nil && depths["work"].Ready+depths["work"].Unacknowledged == 0
	})
	if n := len(got.deliveries()); n != 1 {
		t.Errorf("handler got %d messages, want 1", n)
	}
}

func TestMessageThatKillsItsConsumersIsDeadLettered(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(2))
	f.run(f.engine.Run)
	var got recorder
	f.consume(f.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 1, Handle: func(ctx context.Context, d queue.Delivery) error {
		got.record(d)
		if bodyOf(d) == "deadly" {
			if err := f.engine.CutConsumerConnection(); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}})
	f.publish("deadly", "harmless")
	letter := f.waitDeadLetter("work")
	f.waitFor("the other message", got.hasAll("harmless"))
	if letter.Count != 2 || !strings.Contains(letter.Error, "delivered 2 times") || letter.Exchange != "work" {
		t.Errorf("got dead letter %+v, want one from exchange \"work\" after 2 deliveries", letter)
	}
	counts := []int{}
	for _, d := range got.deliveries() {
		if bodyOf(d) == "deadly" {
			counts = append(counts, d.Count)
		}
	}
	if fmt.Sprint(counts) != "[1 2]" {
		t.Errorf("handler got delivery counts %v, want [1 2]", counts)
	}
}

// An operator's policy can have a lower delivery limit than the engine.
func TestMessageDeadLetteredByRabbitMQIsStored(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	f.broker.SetPolicy(`{"delivery-limit": 1}`)
	if err := f.tryPublish(queue.Message{Exchange: "work", RoutingKey: "a.b", Headers: map[string]string{"kind": "talk"}}, "deadly"); err != nil {
		t.Fatal(err)
	}
	f.run(f.engine.Run)
	f.waitFor("the message among the dead letters", func() bool {
		if f.count(deadLetterCount, "work") > 0 {
			return true
		}
		connection, err := amqp.Dial(f.broker.PasswordURL())
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		channel, err := connection.Channel()
		if err == nil {
			_, _, err = channel.Get("work", false) // and closes the connection without an acknowledgement
		}
		if err != nil {
			t.Fatal(err)
		}
		return false
	})
	letter := f.waitDeadLetter("work")
	if letter.Error != "dead-lettered by RabbitMQ: delivery_limit" || letter.Exchange != "work" || letter.RoutingKey != "a.b" || letter.Headers["kind"] != "talk" || letter.Type != "test" {
		t.Errorf("got dead letter %+v, want the delivery limit as its error and the message's own data", letter)
	}
	f.waitFor("an empty dead letter queue", func() bool {
		status, err := f.rawChannel().QueueDeclarePassive(rabbitqueue.DeadLetterQueue, true, false, false, false, nil)
		return err == nil && status.Messages == 0
	})
}

// A history that exceeds MaxHistory does not prevent the next delivery.
func TestMessageKeepsItsLatestFailures(t *testing.T) {
	const limit = 6
	f := newFixture(t)
	f.declare(workTopology(limit))
	f.run(f.engine.Run)
	long := strings.Repeat("\x01\"", queue.MaxError) // 6 and 2 bytes in JSON
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: func(context.Context, queue.Delivery) error { return errors.New(long) }})
	f.publish("x")
	letter := f.waitDeadLetter("work")
	if letter.Count != limit || len(letter.History) < 3 || len(letter.History) == limit {
		t.Fatalf("got %d deliveries and %d failures, want %d and from 3 to %d", letter.Count, len(letter.History), limit, limit-1)
	}
	for i, failure := range letter.History {
		if want := limit - len(letter.History) + 1 + i; failure.Count != want || failure.Host == "" || !strings.HasPrefix(long, failure.Error) {
			t.Errorf("got failure %+v, want the one of delivery %d", failure, want)
		}
	}
}

func TestHistoryIsTruncatedToLatestFailures(t *testing.T) {
	for _, c := range []struct{ entries, kept int }{{0, 0}, {1, 1}, {15, 15}, {40, 15}} {
		var history []queue.Failure
		for i := range c.entries {
			history = append(history, queue.Failure{Count: i + 1, Error: strings.Repeat("x", 2000)})
		}
		text, err := json.Marshal(history)
		if err != nil {
			t.Fatal(err)
		}
		truncated := rabbitqueue.TruncateHistory(text)
		var kept []queue.Failure
		if err := json.Unmarshal([]byte(truncated), &kept); err != nil || len(truncated) > rabbitqueue.MaxHistory || len(kept) != c.kept {
			t.Errorf("%d failures: got %d in %d bytes, %v, want %d", c.entries, len(kept), len(truncated), err, c.kept)
		}
		if len(kept) > 0 && kept[len(kept)-1].Count != c.entries {
			t.Errorf("%d failures: the latest is missing", c.entries)
		}
	}
}
