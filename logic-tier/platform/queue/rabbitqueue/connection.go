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
	// heartbeat is the interval of AMQP's heartbeats. After two missed ones RabbitMQ
	// closes the connection and redelivers its messages: this is the lease.
	heartbeat = 10 * time.Second
	// dialTimeout bounds opening a connection. It is well over the 3 s for which
	// RabbitMQ delays its answer to a failed login.
	dialTimeout = 7 * time.Second
	// callTimeout bounds a call to RabbitMQ. Declaring a quorum queue creates it on
	// every host of the cluster first.
	callTimeout = 15 * time.Second
	// closeTimeout bounds closing a connection.
	closeTimeout = 2 * time.Second
)

// connection is a connection to RabbitMQ.
type connection struct {
	*amqp.Connection
	socket *socket
	writes *writeBatcher
	// done is closed when the connection has closed; then closeErr is the reason.
	done     chan struct{}
	closeErr error
	// blockedChanged receives when RabbitMQ blocks or unblocks publishing.
	blockedChanged chan struct{}
	blockReason    atomic.Pointer[string] // nil while RabbitMQ accepts messages
}

// dial connects to one of the hosts. RabbitMQ's management page shows the
// connection under name.
func (a address) dial(ctx context.Context, name string) (*connection, error) {
	// A random first host spreads the processes over the cluster.
	var dialErr error
	for i, first := 0, rand.N(len(a.hosts)); i < len(a.hosts); i++ {
		c, err := a.dialHost(ctx, a.hosts[(first+i)%len(a.hosts)], name)
		if err == nil {
			return c, nil
		}
		if dialErr == nil || !queue.IsPermanent(dialErr) {
			dialErr = err
		}
	}
	return nil, dialErr
}

func (a address) dialHost(ctx context.Context, host, name string) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, a.explainDialError(host, err, 0)
	}
	s := &socket{Conn: conn}
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

// open performs the TLS and AMQP handshakes on s.
func (a address) open(ctx context.Context, s *socket, host, name string) (*connection, error) {
	var transport net.Conn = s
	if a.useTLS {
		config, err := a.tlsConfig(host)
		if err != nil {
			return nil, err
		}
		client := tls.Client(s, config)
		if err := client.HandshakeContext(ctx); err != nil {
			return nil, a.explainDialError(host, err, 0)
		}
		transport = client
	}
	writes := &writeBatcher{Conn: transport}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(name)
	start := time.Now()
	opened, err := amqp.Open(writes, amqp.Config{
		SASL: []amqp.Authentication{a.authentication()}, Vhost: a.virtualHost, Heartbeat: heartbeat,
		FrameSize: maxFrame, Properties: properties, Locale: "en_US",
	})
	if err != nil {
		elapsed := time.Since(start)
		if a.useTLS && elapsed < refusalDelay {
			if alert := a.readAlert(ctx, host); isTLSAlert(alert) {
				err = alert
			}
		}
		return nil, a.explainDialError(host, err, elapsed)
	}
	return &connection{Connection: opened, socket: s, writes: writes, done: make(chan struct{}), blockedChanged: make(chan struct{}, 1)}, nil
}

// alertTimeout bounds the wait for a TLS alert, which arrives at once.
const alertTimeout = time.Second

// readAlert connects again to learn whether RabbitMQ rejects the client
// certificate. In TLS 1.3 the alert arrives after the client has finished its
// handshake, and data that the client writes by then can make the kernel discard
// the alert. So readAlert writes nothing.
func (a address) readAlert(ctx context.Context, host string) error {
	config, err := a.tlsConfig(host)
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

func isTLSAlert(err error) bool {
	return err != nil && strings.Contains(err.Error(), "remote error: tls:")
}

// watch tracks whether RabbitMQ blocks the connection, until the connection closes.
func (c *connection) watch() {
	closed := c.NotifyClose(make(chan *amqp.Error, 1))
	blocks := c.NotifyBlocked(make(chan amqp.Blocking, 8))
	for {
		select {
		case err := <-closed:
			c.closeErr = errors.New("closed")
			if err != nil {
				c.closeErr = err
			}
			close(c.done)
			return
		case b, open := <-blocks:
			if !open {
				blocks = nil // closed receives next
				continue
			}
			c.socket.blocked.Store(b.Active)
			if b.Active {
				c.blockReason.Store(&b.Reason)
			} else {
				c.blockReason.Store(nil)
			}
			notify.Signal(c.blockedChanged)
		}
	}
}

// isDone reports whether the connection has closed.
func (c *connection) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// blocked returns the reason for which RabbitMQ accepts no messages, or "" if it
// accepts them.
func (c *connection) blocked() (reason string) {
	if reason := c.blockReason.Load(); reason != nil {
		return *reason
	}
	return ""
}

// within calls RabbitMQ by call. If no answer arrives within timeout, it closes the
// connection, which is the only way to unblock the call.
func (c *connection) within(timeout time.Duration, call func() error) error {
	timer := time.AfterFunc(timeout, func() { _ = c.socket.Close() })
	err := call()
	if !timer.Stop() && err != nil {
		err = fmt.Errorf("RabbitMQ did not answer in %s: %w", timeout, err)
	}
	return err
}

// channel opens a channel.
func (c *connection) channel() (channel *amqp.Channel, err error) {
	err = c.within(callTimeout, func() error { channel, err = c.Channel(); return err })
	return channel, err
}

// closeChannel closes a channel. RabbitMQ requeues its unacknowledged deliveries.
func (c *connection) closeChannel(channel *amqp.Channel) {
	_ = c.within(callTimeout, channel.Close)
}

// close closes the connection, waiting up to closeTimeout for RabbitMQ's answer.
func (c *connection) close() {
	_ = c.within(closeTimeout, c.Close)
	_ = c.socket.Close()
}

// version returns RabbitMQ's major and minor version.
func (c *connection) version() (major, minor int) {
	text, _ := c.Properties["version"].(string)
	numbers := strings.Split(text, ".")
	if len(numbers) > 1 {
		major, _ = strconv.Atoi(numbers[0])
		minor, _ = strconv.Atoi(numbers[1])
	}
	return major, minor
}

// Bounds of the exponential backoff between attempts to reach RabbitMQ: short after
// a brief outage, long enough that many processes do not slow down a RabbitMQ that
// is starting.
const (
	minRetryPause = 100 * time.Millisecond
	maxRetryPause = 5 * time.Second
)

// retryPause returns the pause before the next attempt, with jitter, after a number
// of consecutive failures.
func retryPause(failures int) time.Duration {
	pause := maxRetryPause
	if failures < 7 {
		pause = min(maxRetryPause, minRetryPause<<max(failures-1, 0))
	}
	return pause/2 + rand.N(pause/2)
}
