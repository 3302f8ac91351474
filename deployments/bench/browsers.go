package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// browsers are connections that follow a stream. They only count events, because they share the
// processors with the measured site.
type browsers struct {
	connections []net.Conn
	received    atomic.Int64
	bytes       atomic.Int64
	first       atomic.Int64 // arrival of the first event, Unix nanoseconds
	last        atomic.Int64 // likewise of the last event
	lost        atomic.Int64 // connections that the server closed
	closing     atomic.Bool
	reading     sync.WaitGroup
}

// browsersPerAddress is the number of browsers behind one address, as at a school.
const browsersPerAddress = 1000

// openers is the number of concurrent connection attempts.
const openers = 64

// open connects n browsers. request returns the request of the nth browser.
func open(ctx context.Context, address string, n int, request func(n int) string) (*browsers, error) {
	b := &browsers{connections: make([]net.Conn, n)}
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	next := make(chan int)
	for range openers {
		group.Go(func() {
			for i := range next {
				if err := b.open(address, i, request(i)); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	for i := range n {
		if failed.Load() != nil || ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	group.Wait()
	if err := failed.Load(); err != nil {
		b.close()
		return nil, *err
	}
	return b, ctx.Err()
}

// firstEvent marks the start of a stream.
var firstEvent = []byte("id: ")

func (b *browsers) open(address string, i int, request string) error {
	// One client address gets only a share of the web tier's streams.
	dialer := net.Dialer{Timeout: callTimeout, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i/browsersPerAddress))}}
	connection, err := dialer.Dial("tcp", address)
	if err != nil {
		return err
	}
	b.connections[i] = connection
	_ = connection.SetDeadline(time.Now().Add(callTimeout))
	if _, err := connection.Write([]byte(request)); err != nil {
		return err
	}
	// Wait for the first id: from there on, the stream misses no event.
	buffer := make([]byte, 4096)
	for length := 0; !bytes.Contains(buffer[:length], firstEvent); {
		n, err := connection.Read(buffer[length:])
		if length += n; err != nil {
			return fmt.Errorf("browser %d: %w, after %.80q", i, err, buffer[:length])
		}
	}
	if !bytes.HasPrefix(buffer, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("browser %d: got response %.80q", i, buffer)
	}
	_ = connection.SetDeadline(time.Time{})
	b.reading.Go(func() { b.read(connection) })
	return nil
}

var mark = []byte("\nevent: n")

// read counts events, which can span two reads.
func (b *browsers) read(connection net.Conn) {
	buffer := make([]byte, 4096)
	carried := 0
	for {
		n, err := connection.Read(buffer[carried:])
		if err != nil {
			if !b.closing.Load() {
				b.lost.Add(1)
			}
			return
		}
		b.bytes.Add(int64(n))
		data := buffer[:carried+n]
		if found := bytes.Count(data, mark); found > 0 {
			now := time.Now().UnixNano()
			b.first.CompareAndSwap(0, now)
			b.last.Store(now)
			b.received.Add(int64(found))
		}
		// Carry over less than one mark: enough to complete it, too little to count it twice.
		carried = copy(buffer, data[max(0, len(data)-len(mark)+1):])
	}
}

// reset resets the counters.
func (b *browsers) reset() {
	b.received.Store(0)
	b.bytes.Store(0)
	b.first.Store(0)
	b.last.Store(0)
}

// await waits until the browsers have received a number of events.
func (b *browsers) await(ctx context.Context, events int64) error {
	ctx, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	for b.received.Load() < events {
		if lost := b.lost.Load(); lost > 0 {
			return fmt.Errorf("the server closed the streams of %d browsers", lost)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("received %d of %d events: %w", b.received.Load(), events, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

func (b *browsers) close() {
	b.closing.Store(true)
	for _, connection := range b.connections {
		if connection != nil {
			_ = connection.Close()
		}
	}
	b.reading.Wait()
}
