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

// browsers are connections that follow a stream. They only count: what they
// work, the measured lack.
type browsers struct {
	connections []net.Conn
	heard       atomic.Int64
	bytes       atomic.Int64
	first       atomic.Int64 // when the first event was heard, Unix nanoseconds
	last        atomic.Int64
	lost        atomic.Int64 // connections that ended
	closing     atomic.Bool
	reading     sync.WaitGroup
}

// browsersPerAddress is how many browsers connect from one address: those of a school.
const browsersPerAddress = 1000

// openers is how many connect at the same time.
const openers = 64

// open connects n browsers; request is what the nth asks.
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

// begun is in what a stream begins with.
var begun = []byte("id: ")

func (b *browsers) open(address string, i int, request string) error {
	// The web tier gives one client address only a share of its streams.
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
	// Until the stream has begun: it says so by the id from which on nothing is
	// missed.
	buffer := make([]byte, 4096)
	for have := 0; !bytes.Contains(buffer[:have], begun); {
		n, err := connection.Read(buffer[have:])
		if have += n; err != nil {
			return fmt.Errorf("browser %d: %w, after %.80q", i, err, buffer[:have])
		}
	}
	if !bytes.HasPrefix(buffer, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("browser %d is answered %.80q", i, buffer)
	}
	_ = connection.SetDeadline(time.Time{})
	b.reading.Go(func() { b.read(connection) })
	return nil
}

var mark = []byte("\nevent: n")

// read counts events; one may come in two parts.
func (b *browsers) read(connection net.Conn) {
	buffer := make([]byte, 4096)
	kept := 0
	for {
		n, err := connection.Read(buffer[kept:])
		if err != nil {
			if !b.closing.Load() {
				b.lost.Add(1)
			}
			return
		}
		b.bytes.Add(int64(n))
		all := buffer[:kept+n]
		if found := bytes.Count(all, mark); found > 0 {
			now := time.Now().UnixNano()
			b.first.CompareAndSwap(0, now)
			b.last.Store(now)
			b.heard.Add(int64(found))
		}
		// Too little to be counted again, enough to complete one.
		kept = copy(buffer, all[max(0, len(all)-len(mark)+1):])
	}
}

// expect sets the counts to nothing.
func (b *browsers) expect() {
	b.heard.Store(0)
	b.bytes.Store(0)
	b.first.Store(0)
	b.last.Store(0)
}

// await waits until that many events were heard.
func (b *browsers) await(ctx context.Context, events int64) error {
	ctx, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	for b.heard.Load() < events {
		if lost := b.lost.Load(); lost > 0 {
			return fmt.Errorf("%d browsers were cut off", lost)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("heard %d of %d: %w", b.heard.Load(), events, ctx.Err())
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
