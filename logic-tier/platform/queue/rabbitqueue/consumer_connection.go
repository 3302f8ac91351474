package rabbitqueue

import (
	"context"
	"errors"
	"sync"

	"techtalks.example/logic-tier/platform/queue/notify"
)

// consumerConnection maintains the connection that all consumers of this process
// share. The relay has a connection of its own: RabbitMQ blocks a connection that
// publishes too fast, and acknowledgements would wait behind that.
type consumerConnection struct {
	*Queue
	health health

	mu      sync.Mutex
	users   int
	stop    func()
	current *connection
	changed chan struct{} // closed with every change of current
}

func newConsumerConnection(q *Queue) *consumerConnection {
	c := &consumerConnection{Queue: q, changed: make(chan struct{})}
	c.health.set(errors.New("not connected to RabbitMQ yet"))
	return c
}

// acquire keeps the connection open until as many calls of release.
func (c *consumerConnection) acquire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users++; c.users > 1 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var maintaining sync.WaitGroup
	maintaining.Go(func() { c.maintain(ctx) })
	c.stop = func() { cancel(); maintaining.Wait() }
}

// release closes the connection if the caller was its last user.
func (c *consumerConnection) release() {
	c.mu.Lock()
	stop := func() {}
	if c.users--; c.users == 0 {
		stop = c.stop
	}
	c.mu.Unlock()
	stop()
}

// maintain connects, and reconnects when the connection is lost, until ctx ends.
func (c *consumerConnection) maintain(ctx context.Context) {
	for failures := 0; ctx.Err() == nil; {
		connection, err := c.connect(ctx)
		if ctx.Err() != nil {
			if err == nil {
				connection.close()
			}
			break
		}
		if err != nil {
			failures++
			if c.health.set(err) {
				c.log.Warn("queue: cannot consume from RabbitMQ; retrying", "error", err)
			}
			notify.Sleep(ctx, retryPause(failures))
			continue
		}
		if c.health.set(nil) {
			c.log.Info("queue: connected to RabbitMQ", "broker", c.address.String())
		}
		failures = 0
		c.set(connection)
		select {
		case <-ctx.Done():
			c.set(nil)
			connection.close()
		case <-connection.done:
			c.set(nil)
			if c.health.set(connection.closeErr) {
				c.log.Warn("queue: connection to RabbitMQ lost; reconnecting", "error", connection.closeErr)
			}
		}
	}
	c.health.set(errors.New("not connected to RabbitMQ"))
}

// connect connects and applies the declared topology, which RabbitMQ lacks if it
// lost its data or was unavailable to Declare.
func (c *consumerConnection) connect(ctx context.Context) (*connection, error) {
	connection, err := c.address.dial(ctx, c.connectionName("consumer"))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = connection.socket.Close() })
	defer stop()
	if err := c.applyTopology(ctx, connection); err != nil {
		connection.close()
		return nil, err
	}
	return connection, nil
}

func (c *consumerConnection) set(connection *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = connection
	close(c.changed)
	c.changed = make(chan struct{})
}

// wait waits for the connection and returns it, or nil if ctx ends first.
func (c *consumerConnection) wait(ctx context.Context) *connection {
	for {
		c.mu.Lock()
		connection, changed := c.current, c.changed
		c.mu.Unlock()
		if connection != nil && !connection.isDone() {
			return connection
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// get returns the connection, or the reason for which there is none.
func (c *consumerConnection) get() (*connection, error) {
	c.mu.Lock()
	connection := c.current
	c.mu.Unlock()
	if connection != nil && !connection.isDone() {
		return connection, nil
	}
	if err := c.health.get(); err != nil {
		return nil, err
	}
	return nil, errors.New("not connected to RabbitMQ")
}

// exclusiveSeparator separates the declared name of an exclusive queue from the
// suffix that identifies its consumer.
const exclusiveSeparator = "@"
