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

func TestAForeignMessageIsBuriedAndBlocksNothing(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	s.run(s.engine.Run)
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 1, Handle: got.handle})
	raw := s.raw()
	for _, p := range []amqp.Publishing{
		{Body: []byte("no id")},
		{MessageId: "no number", Type: "a\x00b\xff", Headers: amqp.Table{"n": int32(7), "s": "\xff\x00"}, Priority: 200, Body: []byte{0}},
		{MessageId: "1", Body: make([]byte, queue.MaxBody+1)},
	} {
		if err := raw.PublishWithContext(t.Context(), "", "work", false, false, p); err != nil {
			t.Fatal(err)
		}
	}
	s.publish("ours")
	s.until("our own message", got.holds("ours"))
	s.until("three dead letters", func() bool { return s.count(dead, "work") == 3 })
	if n := s.count(`select count(*) from queue.dead_letter where last_error like 'it did not come through the outbox%publish through the logic tier'`); n != 3 {
		t.Errorf("%d say what to do", n)
	}
	s.until("an empty queue", func() bool {
		all, err := s.engine.Depths(t.Context())
		return err == nil && all["work"].Ready+all["work"].Unacknowledged == 0
	})
	if len(got.all()) != 1 {
		t.Errorf("a handler got %d messages", len(got.all()))
	}
}

// Each consumer dies of it before it answers.
func TestAMessageOfWhichConsumersDieEndsInTheDeadLetters(t *testing.T) {
	s := newSite(t)
	s.declare(one(2))
	s.run(s.engine.Run)
	var got notes
	s.consume(s.engine, queue.Consumer{Queue: "work", Concurrency: 1, Prefetch: 1, Handle: func(ctx context.Context, d queue.Delivery) error {
		got.add(d)
		if text(d) == "deadly" {
			if err := s.engine.Crash(); err != nil {
				return err
			}
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}})
	s.publish("deadly", "good")
	letter := s.letter("work")
	s.until("the other message", got.holds("good"))
	if letter.Count != 2 || !strings.Contains(letter.Error, "delivered 2 times") || letter.Exchange != "work" {
		t.Errorf("the dead letter is %+v", letter)
	}
	counts := []int{}
	for _, d := range got.all() {
		if text(d) == "deadly" {
			counts = append(counts, d.Count)
		}
	}
	if fmt.Sprint(counts) != "[1 2]" {
		t.Errorf("the handler got it as %v, want two deliveries", counts)
	}
}

// An operator's policy may have RabbitMQ give up a message before the engine does.
func TestWhatRabbitMQGivesUpIsADeadLetterToo(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	s.broker.SetPolicy(`{"delivery-limit": 1}`)
	if err := s.tryPublish(queue.Message{Exchange: "work", RoutingKey: "a.b", Headers: map[string]string{"kind": "talk"}}, "deadly"); err != nil {
		t.Fatal(err)
	}
	s.run(s.engine.Run)
	s.until("the message buried", func() bool {
		if s.count(dead, "work") > 0 {
			return true
		}
		connection, err := amqp.Dial(s.broker.PasswordURL())
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		channel, err := connection.Channel()
		if err == nil {
			_, _, err = channel.Get("work", false) // and dies
		}
		if err != nil {
			t.Fatal(err)
		}
		return false
	})
	letter := s.letter("work")
	if letter.Error != "RabbitMQ gave it up: delivery_limit" || letter.Exchange != "work" || letter.RoutingKey != "a.b" || letter.Headers["kind"] != "talk" || letter.Type != "test" {
		t.Errorf("the dead letter is %+v", letter)
	}
	s.until("nothing left in RabbitMQ", func() bool {
		state, err := s.raw().QueueDeclarePassive(rabbitqueue.DeadLetters, true, false, false, false, nil)
		return err == nil && state.Messages == 0
	})
}

// A long history does not keep a message from its next delivery.
func TestAMessageKeepsItsHistory(t *testing.T) {
	const limit = 6
	s := newSite(t)
	s.declare(one(limit))
	s.run(s.engine.Run)
	long := strings.Repeat("\x01\"", queue.MaxError) // six bytes and two, in JSON
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: func(context.Context, queue.Delivery) error { return errors.New(long) }})
	s.publish("x")
	letter := s.letter("work")
	if letter.Count != limit || len(letter.History) < 3 || len(letter.History) == limit {
		t.Fatalf("%d deliveries, of which %d are known", letter.Count, len(letter.History))
	}
	for i, f := range letter.History {
		if want := limit - len(letter.History) + 1 + i; f.Count != want || f.Host == "" || !strings.HasPrefix(long, f.Error) {
			t.Errorf("delivery %d is remembered as %+v", want, f)
		}
	}
}

func TestAHistoryIsCutToItsEnd(t *testing.T) {
	for _, c := range []struct{ entries, kept int }{{0, 0}, {1, 1}, {15, 15}, {40, 15}} {
		var history []queue.Failure
		for i := range c.entries {
			history = append(history, queue.Failure{Count: i + 1, Error: strings.Repeat("x", 2000)})
		}
		text, err := json.Marshal(history)
		if err != nil {
			t.Fatal(err)
		}
		cut := rabbitqueue.Latest(text)
		var left []queue.Failure
		if err := json.Unmarshal([]byte(cut), &left); err != nil || len(cut) > rabbitqueue.MaxHistory || len(left) != c.kept {
			t.Errorf("of %d failures %d are left in %d bytes, %v", c.entries, len(left), len(cut), err)
		}
		if len(left) > 0 && left[len(left)-1].Count != c.entries {
			t.Errorf("the latest is lost")
		}
	}
}
