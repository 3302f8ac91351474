package rabbitqueue

import (
	"context"
	"errors"
	"sync"

	"techtalks.example/logic-tier/platform/queue/wake"
)

// link is the connection of this process on which it consumes. Shipping has one of
// its own: RabbitMQ holds up a connection that publishes more than it has room
// for, and acknowledgements would wait behind that.
type link struct {
	*Queue
	state state

	mu      sync.Mutex
	users   int
	stop    func()
	current *connection
	changed chan struct{} // closed with every change of current
}

func newLink(q *Queue) *link {
	l := &link{Queue: q, changed: make(chan struct{})}
	l.state.set(errors.New("not connected to RabbitMQ yet"))
	return l
}

// join keeps the link connected until as many have left.
func (l *link) join() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users++; l.users > 1 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var keeping sync.WaitGroup
	keeping.Go(func() { l.keep(ctx) })
	l.stop = func() { cancel(); keeping.Wait() }
}

func (l *link) leave() {
	l.mu.Lock()
	stop := func() {}
	if l.users--; l.users == 0 {
		stop = l.stop
	}
	l.mu.Unlock()
	stop()
}

// keep connects, again and again, until ctx ends.
func (l *link) keep(ctx context.Context) {
	for failed := 0; ctx.Err() == nil; {
		c, err := l.connect(ctx)
		if ctx.Err() != nil {
			if err == nil {
				c.close()
			}
			break
		}
		if err != nil {
			failed++
			if l.state.set(err) {
				l.log.Warn("queue: cannot consume from RabbitMQ; trying again", "error", err)
			}
			wake.Pause(ctx, retryPause(failed))
			continue
		}
		if l.state.set(nil) {
			l.log.Info("queue: connected to RabbitMQ", "broker", l.address.String())
		}
		failed = 0
		l.put(c)
		select {
		case <-ctx.Done():
			l.put(nil)
			c.close()
		case <-c.ended:
			l.put(nil)
			if l.state.set(c.reason) {
				l.log.Warn("queue: connection to RabbitMQ lost; making another", "error", c.reason)
			}
		}
	}
	l.state.set(errors.New("not connected to RabbitMQ"))
}

// connect connects, and declares what is declared: RabbitMQ may have lost it, or
// not have been there when it was.
func (l *link) connect(ctx context.Context) (*connection, error) {
	c, err := l.address.dial(ctx, l.connectionName("consumes"))
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.socket.Close() })
	defer stop()
	if err := l.declareOn(ctx, c); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (l *link) put(c *connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = c
	close(l.changed)
	l.changed = make(chan struct{})
}

// get waits for the connection; nil when ctx ended first.
func (l *link) get(ctx context.Context) *connection {
	for {
		l.mu.Lock()
		c, changed := l.current, l.changed
		l.mu.Unlock()
		if c != nil && !c.isOver() {
			return c
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// connected returns the connection, or why there is none.
func (l *link) connected() (*connection, error) {
	l.mu.Lock()
	c := l.current
	l.mu.Unlock()
	if c != nil && !c.isOver() {
		return c, nil
	}
	if err := l.state.get(); err != nil {
		return nil, err
	}
	return nil, errors.New("not connected to RabbitMQ")
}

// exclusiveMark stands between an exclusive queue's declared name and what tells
// its consumer's from another's.
const exclusiveMark = "@"
