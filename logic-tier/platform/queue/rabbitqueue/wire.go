package rabbitqueue

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/ledger"
)

// Headers of the engine's own, beside the message's. RabbitMQ's headers exchanges
// do not look at those that begin with "x-".
const (
	traceparentHeader = "traceparent"
	publishedHeader   = "x-published" // microseconds; AMQP's timestamp has seconds
	// Of a message that goes to one queue: how it was published and how it fared.
	exchangeHeader   = "x-exchange"
	routingKeyHeader = "x-routing-key"
	deliveriesHeader = "x-deliveries"
	historyHeader    = "x-history"
	// RabbitMQ's: how often it delivered this copy without an answer, and why it
	// gave a message up.
	returnedHeader = "x-delivery-count"
	deathHeader    = "x-death"
)

const (
	// maxFrame bounds a frame; all headers of a message are in one.
	maxFrame = 128 << 10
	// maxHistory bounds a message's history on its way, in bytes: of a longer one
	// the latest. With the other headers it is far below a frame.
	maxHistory = 32 << 10
	// maxShort bounds AMQP's short strings, in bytes: types, and names of headers
	// with the mark that they may get.
	maxShort = 255
)

// onWireName returns the name that a message's header has in AMQP. RabbitMQ
// routes by CC and BCC, and headers exchanges ignore "x-…"; those get a mark, and
// so do those that begin with it.
func onWireName(name string) string {
	if name == "CC" || name == "BCC" || name == traceparentHeader || strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "_") {
		return "_" + name
	}
	return name
}

// onWireBinding returns a binding's routing key and arguments.
func onWireBinding(b queue.Binding, of queue.ExchangeType) (key string, arguments amqp.Table) {
	if of != queue.Headers {
		return b.Pattern, nil
	}
	arguments = amqp.Table{"x-match": "all"}
	if b.AnyHeader {
		arguments["x-match"] = "any"
	}
	for name, value := range b.Headers {
		arguments[onWireName(name)] = value
	}
	return "", arguments
}

// row is a message in the outbox.
type row struct {
	shipment
	deliveries                            int
	published                             int64 // microseconds
	exchange, routingKey, of, traceparent string
	headers, history, body                []byte
}

// unshippable says what AMQP cannot carry of a message; empty when it can all of
// it. The library would end the connection over it.
func unshippable(exchange, queueName, routingKey, of string, headers map[string]string) string {
	for _, short := range []struct{ what, text string }{
		{"exchange", exchange}, {"queue", queueName}, {"routing key", routingKey}, {"type", of},
	} {
		if len(short.text) > maxShort {
			return fmt.Sprintf("%s of %d bytes: use at most %d", short.what, len(short.text), maxShort)
		}
	}
	for name := range headers {
		if len(name) >= maxShort {
			return fmt.Sprintf("header's name of %d bytes: use at most %d", len(name), maxShort-1)
		}
	}
	return ""
}

// publishing returns the message as it is published, and where to.
func (r row) publishing() (exchange, key string, p amqp.Publishing, err error) {
	var headers map[string]string
	if r.headers != nil {
		if err = json.Unmarshal(r.headers, &headers); err != nil {
			return "", "", p, err
		}
	}
	if why := unshippable(r.exchange, r.queue, r.routingKey, r.of, headers); why != "" {
		return "", "", p, fmt.Errorf("RabbitMQ cannot carry it: %s", why)
	}
	published := time.UnixMicro(r.published)
	p = amqp.Publishing{
		MessageId: strconv.FormatInt(r.id, 10), Type: r.of, ContentType: queue.ContentType, Timestamp: published,
		DeliveryMode: amqp.Persistent, Priority: uint8(ledger.PriorityOf(r.id)), Body: r.body,
		Headers: amqp.Table{publishedHeader: r.published},
	}
	for name, value := range headers {
		p.Headers[onWireName(name)] = value
	}
	if r.traceparent != "" {
		p.Headers[traceparentHeader] = r.traceparent
	}
	if r.queue == "" {
		return r.exchange, r.routingKey, p, nil
	}
	p.Headers[exchangeHeader], p.Headers[routingKeyHeader] = r.exchange, r.routingKey
	p.Headers[deliveriesHeader] = int64(r.deliveries)
	if r.history != nil {
		p.Headers[historyHeader] = latest(r.history)
	}
	return "", r.queue, p, nil // the default exchange
}

// latest returns the end of a history that fits.
func latest(history []byte) string {
	if len(history) <= maxHistory {
		return string(history)
	}
	var all []json.RawMessage
	if json.Unmarshal(history, &all) != nil {
		return "[]"
	}
	size := len("[]")
	at := len(all)
	for at > 0 && size+len(all[at-1])+1 <= maxHistory {
		at--
		size += len(all[at]) + 1
	}
	return string(ledger.JSON(all[at:]))
}

// message is a delivery with what the engine knows of it.
type message struct {
	queue.Delivery
	tag     uint64
	kept    string // queue's full name
	history []queue.Failure
	// refused is why no handler gets it; nil for most.
	refused error
}

// maxCount bounds what is believed of a header that counts.
const maxCount = 1 << 20

// readMessage reads a delivery of the queue name. What did not come through the
// outbox is refused.
func readMessage(d *amqp.Delivery, name string) *message {
	m := &message{tag: d.DeliveryTag, kept: name}
	m.Queue, m.Exchange, m.RoutingKey, m.Type = name, d.Exchange, d.RoutingKey, d.Type
	m.ContentType, m.Body, m.Priority = d.ContentType, d.Body, min(int(d.Priority), queue.MaxPriority)
	m.Published = d.Timestamp
	counted := 0
	for name, value := range d.Headers {
		switch name {
		case traceparentHeader:
			m.Traceparent, _ = value.(string)
		case publishedHeader:
			if micros, ok := value.(int64); ok {
				m.Published = time.UnixMicro(micros)
			}
		case exchangeHeader:
			m.Exchange, _ = value.(string)
		case routingKeyHeader:
			m.RoutingKey, _ = value.(string)
		case deliveriesHeader, returnedHeader:
			counted += number(value)
		case historyHeader:
			if text, ok := value.(string); ok {
				_ = json.Unmarshal([]byte(text), &m.history)
			}
		default:
			if strings.HasPrefix(name, "x-") {
				continue // RabbitMQ's
			}
			if m.Headers == nil {
				m.Headers = map[string]string{}
			}
			m.Headers[strings.TrimPrefix(name, "_")] = fmt.Sprint(value)
		}
	}
	m.Count = counted + 1
	var err error
	if m.ID, err = strconv.ParseInt(d.MessageId, 10, 64); err != nil {
		m.refused = fmt.Errorf("it did not come through the outbox, its message-id is %q: publish through the logic tier", d.MessageId)
	} else if len(m.Body) > queue.MaxBody {
		m.refused = fmt.Errorf("it did not come through the outbox, its body has %d bytes and may have %d: publish through the logic tier", len(m.Body), queue.MaxBody)
	}
	if m.refused != nil {
		m.ID = 0 // its own, if any, may be one of ours
	}
	return m
}

// number reads a count from a header.
func number(value any) int {
	switch n := value.(type) {
	case int64:
		return int(min(max(n, 0), maxCount))
	case int32:
		return int(min(max(n, 0), maxCount))
	case int16:
		return int(max(n, 0))
	case int8:
		return int(max(n, 0))
	}
	return 0
}

// readDeadLetter reads a delivery of RabbitMQ's dead letters: it belongs to the
// queue that it was in, and no handler gets it.
func readDeadLetter(d *amqp.Delivery, _ string) *message {
	m := readMessage(d, deadLetters)
	m.Count = max(1, m.Count-1) // this delivery is none of that queue
	why := "no reason given"
	if deaths, ok := d.Headers[deathHeader].([]any); ok && len(deaths) > 0 {
		if death, ok := deaths[0].(amqp.Table); ok {
			if name, ok := death["queue"].(string); ok {
				m.Queue = name
			}
			why, _ = death["reason"].(string)
			_, isCopy := d.Headers[exchangeHeader]
			if from, ok := death["exchange"].(string); ok && !isCopy {
				m.Exchange = from
			}
		}
	}
	if m.refused == nil {
		m.refused = fmt.Errorf("RabbitMQ gave it up: %s", why)
	}
	return m
}

// letter returns the message as a dead letter. What came from elsewhere may hold
// what Postgres does not store.
func (m *message) letter(f queue.Failure) ledger.DeadLetter {
	l := ledger.DeadLetter{
		Queue: clean(m.Queue), ID: m.ID, Published: m.Published, Count: m.Count, Exchange: clean(m.Exchange),
		RoutingKey: clean(m.RoutingKey), Type: clean(m.Type), Traceparent: clean(m.Traceparent), Headers: cleaned(m.Headers),
		Error: f.Error, History: ledger.AppendFailure(slices.Clone(m.history), f), Body: m.Body[:min(len(m.Body), queue.MaxBody)],
	}
	for i := range l.History {
		l.History[i].Error = clean(l.History[i].Error)
	}
	if l.Published.IsZero() {
		l.Published = time.Now()
	}
	return l
}

func clean(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
}

func cleaned(headers map[string]string) map[string]string {
	if len(headers) == 0 {
		return nil
	}
	made := make(map[string]string, len(headers))
	for name, value := range headers {
		made[clean(name)] = clean(value)
	}
	return made
}
