package rabbitqueue

import "errors"

// Limits that tests check.
const (
	Window          = window
	BatchSize       = batchSize
	DeadLetterQueue = deadLetterQueue
	MaxHistory      = maxHistory
)

// CutConsumerConnection closes the consumers' connection without AMQP's close, as
// the death of the process does.
func (q *Queue) CutConsumerConnection() error {
	c, err := q.consumerConnection.get()
	if err != nil {
		return err
	}
	return errors.Join(c.socket.Close())
}

// MaxUnconfirmed returns the largest number of messages that were unconfirmed at the
// same time.
func (q *Queue) MaxUnconfirmed() int { return int(q.maxUnconfirmed.Load()) }

// ParseURL parses a broker's URL as New does.
func ParseURL(text, certificates string) (hosts []string, virtualHost, user, password string, err error) {
	a, err := parseAddress(text, certificates)
	return a.hosts, a.virtualHost, a.user, a.password, err
}

// TruncateHistory truncates a history to MaxHistory.
func TruncateHistory(history []byte) string { return truncateHistory(history) }
