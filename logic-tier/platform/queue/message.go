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
	// MaxBody bounds a body, in bytes. Messages tell what happened; what is big is
	// kept where it belongs and named.
	MaxBody = 64 << 10
	// MaxRoutingKey bounds a routing key, in bytes (AMQP 0-9-1, short string).
	MaxRoutingKey = 255
	// MaxHeaders bounds all headers of a message together, in bytes.
	MaxHeaders = 4 << 10
	// MaxPriority is the most urgent there is.
	MaxPriority = 9
	// MaxDelay bounds a delay. What is to happen later than that is a date to keep
	// beside its subject, and no message yet.
	MaxDelay = 30 * 24 * time.Hour
)

// ContentType is what bodies are.
const ContentType = "application/protobuf"

// Message is what a producer publishes.
type Message struct {
	// Exchange routes it.
	Exchange string
	// RoutingKey is what direct and topic exchanges look at: words separated by
	// dots.
	RoutingKey string
	// Type says what the body is, "talk.published".
	Type string
	// Headers are what headers exchanges look at.
	Headers map[string]string
	// Priority is from 0, as most messages are, to MaxPriority. A queue hands out
	// those of a higher one first. RabbitMQ keeps two levels from version 4.0 on,
	// up to 4 and from 5, and none before; beyond that, the order is by priority
	// among the messages that a consumer has prefetched.
	Priority int
	// Delay is how long it is kept before it is handed out, at least.
	Delay time.Duration
	// Body is encoded as protobuf.
	Body proto.Message
}

// Encoded is a message in the form that engines keep.
type Encoded struct {
	Message
	// HeadersJSON is an object of strings; nil when there are none.
	HeadersJSON []byte
	// Traceparent is the trace of the request that publishes it.
	Traceparent string
	// Body is the encoded protobuf message.
	Body []byte
}

// Encode encodes m, for engines. The error of a message beyond a limit names
// it.
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
		return e, fmt.Errorf("body of %d bytes: use at most %d, and name what is bigger", len(e.Body), MaxBody)
	}
	if trace, ok := transport.TraceFrom(ctx); ok {
		e.Traceparent = trace.String()
	}
	return e, nil
}

// Delivery is a message handed to a consumer.
type Delivery struct {
	// ID is the message's own; the same on every redelivery and in every queue.
	ID int64
	// Queue is where it was kept, as declared: of an exclusive queue, without what
	// tells its consumer's from another's.
	Queue string
	// Exchange, RoutingKey, Type and Headers are as published.
	Exchange, RoutingKey, Type string
	// Headers may be nil.
	Headers map[string]string
	// Priority is as published.
	Priority int
	// Traceparent is the trace of the request that published it (W3C Trace
	// Context); empty when it had none.
	Traceparent string
	// ContentType says how the body is encoded.
	ContentType string
	// Body is the encoded message.
	Body []byte
	// Count is how often the message was delivered, this time included.
	Count int
	// Published is when.
	Published time.Time
}

// Failure is a delivery that failed: an entry in a message's history.
type Failure struct {
	// Count says which delivery it was.
	Count int `json:"count"`
	// At is when it ended.
	At time.Time `json:"at"`
	// Host is where.
	Host string `json:"host"`
	// Error is what its handler said, clipped.
	Error string `json:"error"`
}

// MaxHistory bounds a message's history: of more failures, the latest.
const MaxHistory = 20

// Publisher publishes messages.
type Publisher interface {
	// Publish adds m to the transaction q and returns its id; the message reaches
	// its queues when q commits. Where nothing else changes, q may be a DB: the
	// message is committed by itself, in one round trip. Errors: an exchange that is not declared, a
	// message beyond a limit, and those of the database (postgres.ErrUnavailable:
	// nothing was published, and trying again makes sense).
	Publish(ctx context.Context, q postgres.Querier, m Message) (id int64, err error)
}
