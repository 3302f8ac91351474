package rabbitqueue

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// writeTimeout is how long a write may make no progress: as long as it takes to
// notice a silent peer by its heartbeats.
const writeTimeout = 3 * heartbeat

// socket is a connection to RabbitMQ below TLS, whose writes have a deadline:
// AMQP's heartbeats bound reads alone.
type socket struct {
	net.Conn
	// blocked: RabbitMQ has said that it reads nothing for now. Giving up then
	// would publish the same again and again, into the same wall.
	blocked atomic.Bool
}

func (s *socket) Write(b []byte) (n int, err error) {
	for {
		if err := s.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return n, err
		}
		wrote, err := s.Conn.Write(b[n:])
		n += wrote
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || (wrote == 0 && !s.blocked.Load()) {
			return n, err
		}
	}
}

// gathered is how much is written at once at most, in bytes: a TLS record and the
// system call around it cost more than what a small message puts in.
const gathered = 16 << 10

// gatherer is a connection above TLS that gathers what many messages write. The
// library writes every one of them out by itself.
type gatherer struct {
	net.Conn
	mu     sync.Mutex
	users  int
	buffer []byte
}

func (g *gatherer) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users == 0 {
		return g.Conn.Write(b)
	}
	g.buffer = append(g.buffer, b...)
	if len(g.buffer) >= gathered {
		return len(b), g.flush()
	}
	return len(b), nil
}

// flush writes out. The caller has the lock.
func (g *gatherer) flush() error {
	if len(g.buffer) == 0 {
		return nil
	}
	_, err := g.Conn.Write(g.buffer)
	g.buffer = g.buffer[:0]
	return err
}

// together calls write, and writes out what it wrote.
func (g *gatherer) together(write func() error) error {
	g.mu.Lock()
	g.users++
	g.mu.Unlock()
	err := write()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.users--
	return errors.Join(err, g.flush())
}
