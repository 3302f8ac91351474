package queue

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
)

// ExchangeType is how an exchange compares a routing key with its bindings.
type ExchangeType string

// The exchange types of AMQP 0-9-1 (section 3.1.3).
const (
	// Direct: the binding's pattern is the routing key.
	Direct ExchangeType = "direct"
	// Topic: the pattern's words are the key's; * stands for one word, # for
	// any number of them.
	Topic ExchangeType = "topic"
	// Fanout: every binding matches.
	Fanout ExchangeType = "fanout"
	// Headers: the message's headers hold the binding's, all of them or any; the
	// routing key is not looked at.
	Headers ExchangeType = "headers"
)

// DefaultDeliveryLimit is how often a message is delivered before it counts as
// poison: with the backoff between deliveries it is tried for over an hour,
// longer than a neighbour is away for.
const DefaultDeliveryLimit = 20

// Exchange routes messages.
type Exchange struct {
	Name string
	Type ExchangeType
}

// Binding routes an exchange's messages to a queue.
type Binding struct {
	Exchange string
	// Pattern is compared with the routing key as the exchange's type says.
	Pattern string
	// Headers is what a headers exchange compares with the message's.
	Headers map[string]string
	// AnyHeader asks for one of Headers instead of all (AMQP: x-match).
	AnyHeader bool
}

// Text says what b asks for: its pattern, or its headers as
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

// Queue keeps messages until they are acknowledged.
type Queue struct {
	Name string
	// DeliveryLimit is how often a message is delivered at most; 0 means
	// DefaultDeliveryLimit.
	DeliveryLimit int
	// Exclusive gives each consumer a queue of its own, made when it begins and
	// deleted when it ends or vanishes (AMQP: exclusive, auto-delete): every
	// consumer gets every message, from when it began.
	Exclusive bool
	Bindings  []Binding
}

// WithDefaults returns q with its zero fields filled in.
func (q Queue) WithDefaults() Queue {
	if q.DeliveryLimit == 0 {
		q.DeliveryLimit = DefaultDeliveryLimit
	}
	return q
}

// Topology is what a module declares beside what it does: the exchanges it knows,
// those of them that it publishes to, and the queues it consumes.
type Topology struct {
	// Module is who declares it.
	Module string
	// Role is the database role that owns the exchanges in Publishes and the
	// queues: no other module's role can publish to the ones or mark messages of
	// the others as handled. Empty means Module.
	Role string
	// Exchanges are those it publishes to or binds its queues to.
	Exchanges []Exchange
	// Publishes names those it publishes to; an exchange has one publisher.
	Publishes []string
	// Bodies are what it publishes, by type.
	Bodies map[string]proto.Message
	// Queues are those it consumes.
	Queues []Queue
}

// Owner returns the role that owns t's queues; empty when nobody does.
func (t Topology) Owner() string { return cmp.Or(t.Role, t.Module) }

// OwnerOf returns the role that owns an exchange, as far as t knows; empty when
// another module publishes to it.
func (t Topology) OwnerOf(exchange string) string {
	if !slices.Contains(t.Publishes, exchange) {
		return ""
	}
	return t.Owner()
}

// Matches says whether a binding of an exchange of this type matches a message:
// the same answer that the engines give, for drawings and for tests of them.
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

var word = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// TopicExpression returns a regular expression (POSIX and RE2 alike) that
// matches the routing keys that a topic pattern does.
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
	// "#" takes its dot with it, before or behind, so that "a.#" matches "a".
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
		case word.MatchString(w):
			b.WriteString(dot + w)
		default:
			return "", fmt.Errorf("pattern %q: %q is no word, * or #", pattern, w)
		}
		dot = `\.`
	}
	b.WriteString("$")
	return b.String(), nil
}
