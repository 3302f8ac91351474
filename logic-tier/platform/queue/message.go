package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/proto/transport"
)

// Limits of a message.
const (
	// MaxBody limits a body, in bytes. Messages report events; larger data is
	// stored by its module, and the message refers to it.
	MaxBody = 64 << 10
	// MaxRoutingKey limits a routing key, in bytes (AMQP 0-9-1, short string).
	MaxRoutingKey = 255
	// MaxHeaders limits the headers of a message together, encoded as JSON, in
	// bytes.
	MaxHeaders = 4 << 10
	// MaxPriority is the highest priority.
	MaxPriority = 9
	// MaxDelay limits a delay. Store a later date with its subject, and publish
	// when it is due.
	MaxDelay = 30 * 24 * time.Hour
)

// ContentType is the content type of message bodies.
const ContentType = "application/protobuf"

// Message is what a producer publishes.
type Message struct {
	// Exchange is the name of the exchange that routes the message.
	Exchange string
	// RoutingKey is compared by direct and topic exchanges: words separated by
	// dots.
	RoutingKey string
	// Type names the kind of body, such as "talk.published".
	Type string
	// Headers are compared by headers exchanges.
	Headers map[string]string
	// Priority ranges from 0, the default, to MaxPriority. A queue delivers higher
	// priorities first. RabbitMQ distinguishes two levels since version 4.0 (0 to 4
	// and 5 to 9), and none before. Within a level, a consumer still orders its
	// prefetched messages by priority.
	Priority int
	// Delay is the minimum time before the message is delivered.
	Delay time.Duration
	// Body is encoded as protobuf.
	Body proto.Message
}

// Encoded is a message in the form that engines store.
type Encoded struct {
	Message
	// HeadersJSON is a JSON object of strings; nil without headers.
	HeadersJSON []byte
	// Traceparent is the trace of the publishing request (W3C Trace Context);
	// empty if it has none.
	Traceparent string
	// Body is the encoded protobuf message.
	Body []byte
}

// Encode encodes m for an engine. If m exceeds a limit, the error names the
// limit.
func (m Message) Encode(ctx context.Context) (e Encoded, err error) {
	e.Message = m
	if len(m.RoutingKey) > MaxRoutingKey {
		return e, fmt.Errorf("routing key of %d bytes: use at most %d", len(m.RoutingKey), MaxRoutingKey)
	}
	if m.Priority < 0 || m.Priority > MaxPriority {
		return e, fmt.Errorf("priority %d: use 0 to %d", m.Priority, MaxPriority)
	}
	if m.Delay < 0 || m.Delay > MaxDelay {
		return e, fmt.Errorf("delay of %s: use at most %s", m.Delay, MaxDelay)
	}
	if len(m.Headers) > 0 {
		if e.HeadersJSON, err = json.Marshal(m.Headers); err != nil {
			return e, err
		}
		if len(e.HeadersJSON) > MaxHeaders {
			return e, fmt.Errorf("headers of %d bytes: use at most %d", len(e.HeadersJSON), MaxHeaders)
		}
	}
	if e.Body, err = proto.Marshal(m.Body); err != nil {
		return e, err
	}
	if len(e.Body) > MaxBody {
		return e, fmt.Errorf("body of %d bytes: use at most %d, and refer to larger data by its name", len(e.Body), MaxBody)
	}
	if trace, ok := transport.TraceFrom(ctx); ok {
		e.Traceparent = trace.String()
	}
	return e, nil
}

// Delivery is a message delivered to a consumer. Exchange, RoutingKey, Type,
// Headers and Priority are as published.
type Delivery struct {
	// ID identifies the message, in every queue and on every redelivery.
	ID int64
	// Queue is the declared name of the queue; for an exclusive queue, without the
	// suffix that identifies its consumer.
	Queue string

	Exchange, RoutingKey, Type string
	Headers                    map[string]string // can be nil
	Priority                   int

	// Traceparent is the trace of the publishing request (W3C Trace Context);
	// empty if it has none.
	Traceparent string
	// ContentType is the encoding of Body.
	ContentType string
	// Body is the encoded protobuf message.
	Body []byte
	// Count is the number of deliveries of the message, including this one.
	Count int
	// Published is when the message was published.
	Published time.Time
}

// Failure is a delivery that failed: an entry in a message's history.
type Failure struct {
	// Count is the number of deliveries up to this one.
	Count int `json:"count"`
	// At is when the handler failed.
	At time.Time `json:"at"`
	// Host is the consumer's host.
	Host string `json:"host"`
	// Error is the handler's error (see ErrorText).
	Error string `json:"error"`
}

// MaxHistory limits a message's history to its latest failures.
const MaxHistory = 20

// Publisher publishes messages.
type Publisher interface {
	// Publish adds m to the transaction q and returns the message's id; the message
	// reaches its queues when q commits. If nothing else changes with the message, q
	// can be a DB: the message commits by itself, in one round trip.
	//
	// Publish fails if the exchange is not declared, m exceeds a limit, or the
	// database fails. After postgres.ErrUnavailable nothing was published and the
	// caller can retry.
	Publish(ctx context.Context, q postgres.Querier, m Message) (id int64, err error)
}
