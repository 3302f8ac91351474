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

// Headers that the engine adds to a message's own. RabbitMQ's headers exchanges
// ignore headers that begin with "x-".
const (
	traceparentHeader = "traceparent"
	publishedHeader   = "x-published" // microseconds; AMQP's timestamp has seconds
	// Of a message that is addressed to one queue: its original exchange and routing
	// key, its earlier deliveries and failures.
	exchangeHeader   = "x-exchange"
	routingKeyHeader = "x-routing-key"
	deliveriesHeader = "x-deliveries"
	historyHeader    = "x-history"
	// Set by RabbitMQ: the unacknowledged deliveries of this copy, and the reasons for
	// which it dead-lettered a message.
	deliveryCountHeader = "x-delivery-count"
	deathHeader         = "x-death"
)

const (
	// maxFrame bounds a frame in bytes. All headers of a message are in one frame.
	maxFrame = 128 << 10
	// maxHistory bounds the history header in bytes; a longer history loses its oldest
	// entries. Together with the other headers it is far below maxFrame.
	maxHistory = 32 << 10
	// maxShortString bounds AMQP's short strings in bytes: types, and names of headers
	// including an escape.
	maxShortString = 255
)

// amqpHeaderName returns the AMQP name of a message's header. RabbitMQ routes by CC
// and BCC, and its headers exchanges ignore "x-…", so those names get the prefix
// "_", and so do names that already begin with it.
func amqpHeaderName(name string) string {
	if name == "CC" || name == "BCC" || name == traceparentHeader || strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "_") {
		return "_" + name
	}
	return name
}

// amqpBinding returns a binding's routing key and arguments in AMQP.
func amqpBinding(b queue.Binding, exchangeType queue.ExchangeType) (key string, arguments amqp.Table) {
	if exchangeType != queue.Headers {
		return b.Pattern, nil
	}
	arguments = amqp.Table{"x-match": "all"}
	if b.AnyHeader {
		arguments["x-match"] = "any"
	}
	for name, value := range b.Headers {
		arguments[amqpHeaderName(name)] = value
	}
	return "", arguments
}

// row is a message in the outbox.
type row struct {
	shipment
	deliveries                                     int
	published                                      int64 // microseconds
	exchange, routingKey, messageType, traceparent string
	headers, history, body                         []byte
}

// checkEncodable returns an error if the message exceeds a limit of AMQP. The AMQP
// library would close the connection over such a message.
func checkEncodable(exchange, queueName, routingKey, messageType string, headers map[string]string) error {
	for _, s := range []struct{ name, text string }{
		{"exchange", exchange}, {"queue", queueName}, {"routing key", routingKey}, {"type", messageType},
	} {
		if len(s.text) > maxShortString {
			return fmt.Errorf("%s of %d bytes: use at most %d", s.name, len(s.text), maxShortString)
		}
	}
	for name := range headers {
		if len(name) >= maxShortString {
			return fmt.Errorf("header name of %d bytes: use at most %d", len(name), maxShortString-1)
		}
	}
	return nil
}

// encode returns the AMQP message of a row, and where to publish it.
func (r row) encode() (exchange, key string, p amqp.Publishing, err error) {
	var headers map[string]string
	if r.headers != nil {
		if err = json.Unmarshal(r.headers, &headers); err != nil {
			return "", "", p, err
		}
	}
	if err := checkEncodable(r.exchange, r.queue, r.routingKey, r.messageType, headers); err != nil {
		return "", "", p, fmt.Errorf("message exceeds a limit of RabbitMQ: %w", err)
	}
	published := time.UnixMicro(r.published)
	p = amqp.Publishing{
		MessageId: strconv.FormatInt(r.id, 10), Type: r.messageType, ContentType: queue.ContentType, Timestamp: published,
		DeliveryMode: amqp.Persistent, Priority: uint8(ledger.PriorityOf(r.id)), Body: r.body,
		Headers: amqp.Table{publishedHeader: r.published},
	}
	for name, value := range headers {
		p.Headers[amqpHeaderName(name)] = value
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
		p.Headers[historyHeader] = truncateHistory(r.history)
	}
	return "", r.queue, p, nil // the default exchange
}

// truncateHistory returns the latest entries of a history that fit into maxHistory.
func truncateHistory(history []byte) string {
	if len(history) <= maxHistory {
		return string(history)
	}
	var entries []json.RawMessage
	if json.Unmarshal(history, &entries) != nil {
		return "[]"
	}
	size := len("[]")
	first := len(entries)
	for first > 0 && size+len(entries[first-1])+1 <= maxHistory {
		first--
		size += len(entries[first]) + 1
	}
	return string(ledger.JSON(entries[first:]))
}

// message is a delivery with the engine's own data.
type message struct {
	queue.Delivery
	tag       uint64 // AMQP's delivery tag
	queueName string // in RabbitMQ
	history   []queue.Failure
	// rejection is the reason to dead-letter the message without calling a handler,
	// and normally nil.
	rejection error
}

// maxCount bounds the count that a header can claim.
const maxCount = 1 << 20

// decodeMessage decodes a delivery of a queue. It rejects a message that was not
// published through the outbox.
func decodeMessage(d *amqp.Delivery, queueName string) *message {
	m := &message{tag: d.DeliveryTag, queueName: queueName}
	m.Queue, m.Exchange, m.RoutingKey, m.Type = queueName, d.Exchange, d.RoutingKey, d.Type
	m.ContentType, m.Body, m.Priority = d.ContentType, d.Body, min(int(d.Priority), queue.MaxPriority)
	m.Published = d.Timestamp
	deliveries := 0 // earlier ones
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
		case deliveriesHeader, deliveryCountHeader:
			deliveries += headerCount(value)
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
	m.Count = deliveries + 1
	var err error
	if m.ID, err = strconv.ParseInt(d.MessageId, 10, 64); err != nil {
		m.rejection = fmt.Errorf("not published through the outbox, message-id is %q: publish through the logic tier", d.MessageId)
	} else if len(m.Body) > queue.MaxBody {
		m.rejection = fmt.Errorf("not published through the outbox, body of %d bytes exceeds %d: publish through the logic tier", len(m.Body), queue.MaxBody)
	}
	if m.rejection != nil {
		m.ID = 0 // could be the id of a message from the outbox
	}
	return m
}

// headerCount returns the count in a header's value.
func headerCount(value any) int {
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

// decodeDeadLetter decodes a delivery of the dead letter queue. The message belongs
// to the queue that it was dead-lettered from, and is always rejected.
func decodeDeadLetter(d *amqp.Delivery, _ string) *message {
	m := decodeMessage(d, deadLetterQueue)
	m.Count = max(1, m.Count-1) // without the delivery from the dead letter queue
	reason := "no reason given"
	if deaths, ok := d.Headers[deathHeader].([]any); ok && len(deaths) > 0 {
		if death, ok := deaths[0].(amqp.Table); ok {
			if name, ok := death["queue"].(string); ok {
				m.Queue = name
			}
			reason, _ = death["reason"].(string)
			_, addressed := d.Headers[exchangeHeader]
			if exchange, ok := death["exchange"].(string); ok && !addressed {
				m.Exchange = exchange
			}
		}
	}
	if m.rejection == nil {
		m.rejection = fmt.Errorf("dead-lettered by RabbitMQ: %s", reason)
	}
	return m
}

// deadLetter returns the message as a dead letter. It removes text that Postgres
// cannot store, which messages published without the outbox can contain.
func (m *message) deadLetter(f queue.Failure) ledger.DeadLetter {
	l := ledger.DeadLetter{
		Queue: sanitize(m.Queue), ID: m.ID, Published: m.Published, Count: m.Count, Exchange: sanitize(m.Exchange),
		RoutingKey: sanitize(m.RoutingKey), Type: sanitize(m.Type), Traceparent: sanitize(m.Traceparent), Headers: sanitizeHeaders(m.Headers),
		Error: f.Error, History: ledger.AppendFailure(slices.Clone(m.history), f), Body: m.Body[:min(len(m.Body), queue.MaxBody)],
	}
	for i := range l.History {
		l.History[i].Error = sanitize(l.History[i].Error)
	}
	if l.Published.IsZero() {
		l.Published = time.Now()
	}
	return l
}

// sanitize removes invalid UTF-8 and NUL bytes.
func sanitize(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
}

func sanitizeHeaders(headers map[string]string) map[string]string {
	if len(headers) == 0 {
		return nil
	}
	sanitized := make(map[string]string, len(headers))
	for name, value := range headers {
		sanitized[sanitize(name)] = sanitize(value)
	}
	return sanitized
}
