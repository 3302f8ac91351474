// Package queue lets the modules of the logic tier tell each other things
// without waiting for each other, in the words of AMQP 0-9-1: a producer
// publishes a message to an exchange; the exchange routes it by its bindings to
// queues; a queue keeps it until a consumer has worked it and acknowledged it.
//
// A message is published inside the transaction that makes it true, so the two
// are there together or not at all. It is delivered at least once: a consumer
// that dies before it acknowledges leaves the message to another. What a
// handler does must therefore be idempotent.
package queue

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/postgres"
)

// Limits of a message.
const (
	// MaxBody bounds a body. Messages tell what happened; what is big is kept
	// where it belongs and named.
	MaxBody = 64 << 10
	// MaxRoutingKey bounds a routing key, in bytes (AMQP 0-9-1, short string).
	MaxRoutingKey = 255
)

// Message is what a producer publishes.
type Message struct {
	// Exchange routes it.
	Exchange string
	// RoutingKey is what bindings look at: words separated by dots.
	RoutingKey string
	// Type says what the body is, "talk.published".
	Type string
	// Body is encoded as protobuf.
	Body proto.Message
}

// Delivery is a message handed to a consumer.
type Delivery struct {
	// ID is the message's own; the same on every redelivery.
	ID int64
	// Queue is where it was kept.
	Queue string
	// Exchange, RoutingKey and Type are as published.
	Exchange, RoutingKey, Type string
	// Traceparent is the trace of the request that published it (W3C Trace
	// Context); empty when it had none.
	Traceparent string
	// Body is the encoded protobuf message.
	Body []byte
	// Count is how often the message was delivered, this time included.
	Count int
	// Published is when.
	Published time.Time
}

// Publisher publishes messages.
type Publisher interface {
	// Publish adds m to the transaction; it reaches its queues when tx commits.
	// The error of an exchange that is not declared says so; a message that no
	// binding matches is dropped, as AMQP does without the mandatory flag.
	Publish(ctx context.Context, tx *postgres.Tx, m Message) error
}
