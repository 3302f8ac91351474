package rabbitqueue

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// writeTimeout is how long a write can make no progress: as long as heartbeats take
// to detect a silent peer.
const writeTimeout = 3 * heartbeat

// socket is the TCP connection to RabbitMQ, below TLS. Its writes have a deadline:
// AMQP's heartbeats bound reads only.
type socket struct {
	net.Conn
	// blocked is set while RabbitMQ applies flow control and does not read. A write
	// that gave up then would only be followed by a reconnect that publishes the same
	// messages and blocks again.
	blocked atomic.Bool
}

func (s *socket) Write(b []byte) (n int, err error) {
	for {
		if err := s.Conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return n, err
		}
		written, err := s.Conn.Write(b[n:])
		n += written
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || (written == 0 && !s.blocked.Load()) {
			return n, err
		}
	}
}

// maxWriteBatch is the size in bytes at which batched writes are flushed. A TLS
// record and its system call cost more than writing a small message does.
const maxWriteBatch = 16 << 10

// writeBatcher is a connection above TLS that combines the writes of many messages.
// The AMQP library flushes after every message.
type writeBatcher struct {
	net.Conn
	mu      sync.Mutex
	batches int // in progress
	buffer  []byte
}

// Write buffers b while a batch is in progress, and writes it directly otherwise.
func (w *writeBatcher) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.batches == 0 {
		return w.Conn.Write(b)
	}
	w.buffer = append(w.buffer, b...)
	if len(w.buffer) >= maxWriteBatch {
		return len(b), w.flush()
	}
	return len(b), nil
}

// flush writes the buffer. The caller holds the lock.
func (w *writeBatcher) flush() error {
	if len(w.buffer) == 0 {
		return nil
	}
	_, err := w.Conn.Write(w.buffer)
	w.buffer = w.buffer[:0]
	return err
}

// batch calls write and then flushes everything that write wrote.
func (w *writeBatcher) batch(write func() error) error {
	w.mu.Lock()
	w.batches++
	w.mu.Unlock()
	err := write()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.batches--
	return errors.Join(err, w.flush())
}
