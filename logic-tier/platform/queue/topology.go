package queue

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
)

// ExchangeType selects how an exchange matches messages with its bindings.
type ExchangeType string

// The exchange types of AMQP 0-9-1 (section 3.1.3).
const (
	// Direct: the routing key equals the binding's pattern.
	Direct ExchangeType = "direct"
	// Topic: the words of the routing key match those of the pattern; * matches
	// one word, # any number of words.
	Topic ExchangeType = "topic"
	// Fanout: every binding matches.
	Fanout ExchangeType = "fanout"
	// Headers: the message's headers contain all, or any, of the binding's
	// headers; the routing key is ignored.
	Headers ExchangeType = "headers"
)

// DefaultDeliveryLimit is how often a message is delivered before it counts as
// poison. With the backoff between deliveries that takes 20 to 40 minutes: longer
// than a dependency is usually unavailable.
const DefaultDeliveryLimit = 20

// Exchange routes messages.
type Exchange struct {
	Name string
	Type ExchangeType
}

// Binding routes an exchange's messages to a queue.
type Binding struct {
	Exchange string
	// Pattern is matched against the routing key by direct and topic exchanges.
	Pattern string
	// Headers are matched against the message's by headers exchanges.
	Headers map[string]string
	// AnyHeader matches if one of Headers does, instead of all (AMQP: x-match).
	AnyHeader bool
}

// Text returns the condition of b in words: its pattern, or its headers as in
// "all: kind=talk, language=en".
func (b Binding) Text() string {
	if len(b.Headers) == 0 {
		return b.Pattern
	}
	pairs := make([]string, 0, len(b.Headers))
	for key, value := range b.Headers {
		pairs = append(pairs, key+"="+value)
	}
	slices.Sort(pairs)
	match := "all: "
	if b.AnyHeader {
		match = "any: "
	}
	return match + strings.Join(pairs, ", ")
}

// Queue stores messages until they are acknowledged.
type Queue struct {
	Name string
	// DeliveryLimit is the maximum number of deliveries of a message; 0 means
	// DefaultDeliveryLimit.
	DeliveryLimit int
	// Exclusive gives each consumer a separate queue, created when the consumer
	// starts and deleted when it stops or crashes (AMQP: exclusive, auto-delete).
	// So every consumer receives every message published since it started.
	Exclusive bool
	Bindings  []Binding
}

// WithDefaults returns q with defaults for its zero fields.
func (q Queue) WithDefaults() Queue {
	if q.DeliveryLimit == 0 {
		q.DeliveryLimit = DefaultDeliveryLimit
	}
	return q
}

// Topology is a module's declaration of exchanges, queues and bindings.
type Topology struct {
	// Module is the name of the declaring module.
	Module string
	// Role is the database role that owns Queues and the exchanges in Publishes:
	// no other role can publish to these exchanges or mark messages of these
	// queues as handled. Empty means Module.
	Role string
	// Exchanges are the exchanges that the module publishes to or binds queues to.
	Exchanges []Exchange
	// Publishes names the exchanges that the module publishes to. An exchange has
	// one publishing module.
	Publishes []string
	// Bodies maps the types of published messages to their bodies.
	Bodies map[string]proto.Message
	// Queues are the queues that the module consumes.
	Queues []Queue
}

// Owner returns the role that owns t's queues; empty if t names neither a role
// nor a module.
func (t Topology) Owner() string { return cmp.Or(t.Role, t.Module) }

// OwnerOf returns the role that owns an exchange; empty if t does not publish to
// it.
func (t Topology) OwnerOf(exchange string) string {
	if !slices.Contains(t.Publishes, exchange) {
		return ""
	}
	return t.Owner()
}

// Matches reports whether a binding of an exchange of type t matches a message.
// The engines route by the same rules; Matches serves the queue page, and queuetest
// compares it with the engines.
func (t ExchangeType) Matches(b Binding, routingKey string, headers map[string]string) bool {
	switch t {
	case Fanout:
		return true
	case Direct:
		return b.Pattern == routingKey
	case Topic:
		expression, err := TopicExpression(b.Pattern)
		return err == nil && regexp.MustCompile(expression).MatchString(routingKey)
	}
	matched := 0
	for key, value := range b.Headers {
		if got, ok := headers[key]; ok && got == value {
			matched++
		}
	}
	if b.AnyHeader {
		return matched > 0
	}
	return matched == len(b.Headers)
}

var topicWord = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// TopicExpression returns a regular expression, valid in POSIX and RE2, that
// matches the same routing keys as a topic pattern.
func TopicExpression(pattern string) (string, error) {
	if len(pattern) > MaxRoutingKey {
		return "", fmt.Errorf("pattern of %d bytes: use at most %d", len(pattern), MaxRoutingKey)
	}
	if pattern == "" {
		return "^$", nil
	}
	words := slices.CompactFunc(strings.Split(pattern, "."), func(a, b string) bool { return a == "#" && b == "#" })
	var b strings.Builder
	b.WriteString("^")
	// The expression of "#" includes the adjacent dot, so that "a.#" matches "a".
	dot := ""
	for i, w := range words {
		switch {
		case w == "#" && len(words) == 1:
			b.WriteString(".*")
		case w == "#" && i == 0:
			b.WriteString(`([^.]+\.)*`)
			continue
		case w == "#":
			b.WriteString(`(\.[^.]+)*`)
		case w == "*":
			b.WriteString(dot + `[^.]+`)
		case topicWord.MatchString(w):
			b.WriteString(dot + w)
		default:
			return "", fmt.Errorf("pattern %q: %q is not a word, * or #", pattern, w)
		}
		dot = `\.`
	}
	b.WriteString("$")
	return b.String(), nil
}
