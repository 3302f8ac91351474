package rabbitqueue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/notify"
)

const (
	// heartbeat is how often each side says that it is there. RabbitMQ gives up a
	// silent consumer after two, and its messages to others: this is the lease.
	heartbeat = 10 * time.Second
	// dialTimeout bounds the making of a connection; far over the 3 s for which
	// RabbitMQ keeps whoever it refuses waiting.
	dialTimeout = 7 * time.Second
	// callTimeout bounds an answer of RabbitMQ. A quorum queue is made on every
	// host of a cluster first.
	callTimeout = 15 * time.Second
	// closeTimeout bounds a farewell.
	closeTimeout = 2 * time.Second
)

// connection is a connection to RabbitMQ.
type connection struct {
	*amqp.Connection
	socket *socket
	writes *gatherer
	// ended is closed when it is over; then reason says why.
	ended  chan struct{}
	reason error
	// blocking is filled when RabbitMQ takes no messages, or does again.
	blocking chan struct{}
	why      atomic.Pointer[string] // nil when it takes messages
}

// dial connects to one of the hosts. name says what for, to who looks at
// RabbitMQ's connections.
func (a address) dial(ctx context.Context, name string) (*connection, error) {
	// From any of them on, so that processes spread over a cluster.
	var failed error
	for i, first := 0, rand.N(len(a.hosts)); i < len(a.hosts); i++ {
		c, err := a.dialHost(ctx, a.hosts[(first+i)%len(a.hosts)], name)
		if err == nil {
			return c, nil
		}
		if failed == nil || !queue.IsPermanent(failed) {
			failed = err
		}
	}
	return nil, failed
}

func (a address) dialHost(ctx context.Context, host, name string) (*connection, error) {
	ctx, done := context.WithTimeout(ctx, dialTimeout)
	defer done()
	var dialer net.Dialer
	wire, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, a.explain(host, err, 0)
	}
	s := &socket{Conn: wire}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	c, err := a.open(ctx, s, host, name)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = s.Close()
		return nil, err
	}
	go c.watch()
	return c, nil
}

func (a address) open(ctx context.Context, s *socket, host, name string) (*connection, error) {
	var transport net.Conn = s
	if a.secure {
		config, err := a.tls(host)
		if err != nil {
			return nil, err
		}
		secured := tls.Client(s, config)
		if err := secured.HandshakeContext(ctx); err != nil {
			return nil, a.explain(host, err, 0)
		}
		transport = secured
	}
	writes := &gatherer{Conn: transport}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(name)
	began := time.Now()
	inner, err := amqp.Open(writes, amqp.Config{
		SASL: []amqp.Authentication{a.login()}, Vhost: a.virtualHost, Heartbeat: heartbeat,
		FrameSize: maxFrame, Properties: properties, Locale: "en_US",
	})
	if err != nil {
		took := time.Since(began)
		if a.secure && took < refusalPause {
			if alert := a.alert(ctx, host); isAlert(alert) {
				err = alert
			}
		}
		return nil, a.explain(host, err, took)
	}
	return &connection{Connection: inner, socket: s, writes: writes, ended: make(chan struct{}), blocking: make(chan struct{}, 1)}, nil
}

// alertTimeout is how long an alert is waited for; it comes at once.
const alertTimeout = time.Second

// alert connects anew to hear whether RabbitMQ refuses the certificate. In TLS 1.3
// it does so when its client believes to be let in, and what that one writes
// meanwhile may have the system throw away the refusal: so nothing is written.
func (a address) alert(ctx context.Context, host string) error {
	config, err := a.tls(host)
	if err != nil {
		return err
	}
	dialer := tls.Dialer{Config: config}
	c, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(alertTimeout)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

func isAlert(err error) bool {
	return err != nil && strings.Contains(err.Error(), "remote error: tls:")
}

// watch notes what RabbitMQ says of the connection until it is over.
func (c *connection) watch() {
	over := c.NotifyClose(make(chan *amqp.Error, 1))
	blocks := c.NotifyBlocked(make(chan amqp.Blocking, 8))
	for {
		select {
		case err := <-over:
			c.reason = errors.New("closed")
			if err != nil {
				c.reason = err
			}
			close(c.ended)
			return
		case b, open := <-blocks:
			if !open {
				blocks = nil // over comes next
				continue
			}
			c.socket.blocked.Store(b.Active)
			if b.Active {
				c.why.Store(&b.Reason)
			} else {
				c.why.Store(nil)
			}
			notify.Signal(c.blocking)
		}
	}
}

// isOver says whether the connection has ended.
func (c *connection) isOver() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// blocked says why RabbitMQ takes no messages; empty when it does.
func (c *connection) blocked() string {
	if why := c.why.Load(); why != nil {
		return *why
	}
	return ""
}

// within calls RabbitMQ. A call that gets no answer ends the connection, which is
// all that helps then.
func (c *connection) within(timeout time.Duration, call func() error) error {
	late := time.AfterFunc(timeout, func() { _ = c.socket.Close() })
	err := call()
	if !late.Stop() && err != nil {
		err = fmt.Errorf("RabbitMQ did not answer in %s: %w", timeout, err)
	}
	return err
}

// channel opens a channel.
func (c *connection) channel() (channel *amqp.Channel, err error) {
	err = c.within(callTimeout, func() error { channel, err = c.Channel(); return err })
	return channel, err
}

// closeChannel closes a channel, and puts back what was delivered on it.
func (c *connection) closeChannel(channel *amqp.Channel) {
	_ = c.within(callTimeout, channel.Close)
}

// close says farewell, but waits for no answer for long.
func (c *connection) close() {
	_ = c.within(closeTimeout, c.Close)
	_ = c.socket.Close()
}

// version returns RabbitMQ's, as far as two numbers.
func (c *connection) version() (major, minor int) {
	text, _ := c.Properties["version"].(string)
	numbers := strings.Split(text, ".")
	if len(numbers) > 1 {
		major, _ = strconv.Atoi(numbers[0])
		minor, _ = strconv.Atoi(numbers[1])
	}
	return major, minor
}

// Pauses before RabbitMQ is tried again: soon after a short absence, and seldom
// enough that many processes do not hold up one that is starting.
const (
	firstRetry = 100 * time.Millisecond
	longRetry  = 5 * time.Second
)

// retryPause returns the pause before the next try, after so many that failed.
func retryPause(failed int) time.Duration {
	length := longRetry
	if failed < 7 {
		length = min(longRetry, firstRetry<<max(failed-1, 0))
	}
	return length/2 + rand.N(length/2)
}
