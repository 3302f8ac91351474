package rabbitqueue

import "errors"

// What tests hold the engine to.
const (
	Window        = window
	Batch         = batch
	DeadLetters   = deadLetters
	MaxHistory    = maxHistory
	DeliveryLimit = brokerDeliveryLimit
)

// Crash ends the connection that consumes as the death of its process does.
func (q *Queue) Crash() error {
	c, err := q.link.connected()
	if err != nil {
		return err
	}
	return errors.Join(c.socket.Close())
}

// Version is RabbitMQ's.
func (q *Queue) Version() (major, minor int) {
	if c, err := q.link.connected(); err == nil {
		return c.version()
	}
	return 0, 0
}

// MostOnWay is how many messages were published and not confirmed at once.
func (q *Queue) MostOnWay() int { return int(q.mostOnWay.Load()) }

// CheckURL reads a broker's URL as New does, and returns what it found.
func CheckURL(text, certificates string) (hosts []string, virtualHost, user, password string, err error) {
	a, err := parseAddress(text, certificates)
	return a.hosts, a.virtualHost, a.user, a.password, err
}

// Latest cuts a history.
func Latest(history []byte) string { return latest(history) }
