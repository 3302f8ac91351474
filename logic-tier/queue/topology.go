package queue

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
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
}

// Queue keeps messages until they are acknowledged.
type Queue struct {
	Name string
	// DeliveryLimit is how often a message is delivered at most; 0 means
	// DefaultDeliveryLimit.
	DeliveryLimit int
	Bindings      []Binding
}

// Topology is what a module declares: the exchanges it publishes to, the
// queues it consumes.
type Topology struct {
	Exchanges []Exchange
	Queues    []Queue
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
