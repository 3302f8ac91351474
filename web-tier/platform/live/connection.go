package live

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"techtalks.example/proto/transport"
)

// output is where a stream's bytes go.
type output interface {
	// send sends all of them, or fails and leaves what was not sent.
	send(*net.Buffers) error
	// SetWriteDeadline bounds what is sent from now on.
	SetWriteDeadline(time.Time) error
}

// response is a stream inside its handler: what HTTP/2 needs, and the beginning
// of every other.
type response struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// head sends the headers. plain leaves the body without chunks, to be ended by
// closing the connection (RFC 9112, 6.3): whoever takes the connection over
// then just writes.
func (r *response) head(plain bool) {
	h := r.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache, no-transform")
	// nginx and those like it pass events on as they come.
	h.Set("X-Accel-Buffering", "no")
	if plain {
		h.Set("Transfer-Encoding", "identity") // net/http's word for it; it does not send it
	}
	r.w.WriteHeader(http.StatusOK)
}

func (r *response) send(all *net.Buffers) error {
	for _, bytes := range *all {
		if _, err := r.w.Write(bytes); err != nil {
			return err
		}
	}
	return r.control.Flush()
}

func (r *response) SetWriteDeadline(at time.Time) error { return r.control.SetWriteDeadline(at) }

// connection is a stream that has taken its connection over.
type connection struct{ net.Conn }

func (c connection) send(all *net.Buffers) error {
	if len(*all) == 1 {
		n, err := c.Write((*all)[0])
		if err != nil {
			*all = net.Buffers{(*all)[0][n:]}
		}
		return err
	}
	// It takes from the front what it wrote, out of the slices themselves: they
	// are this stream's own, the bytes are not touched.
	_, err := all.WriteTo(c.Conn)
	return err
}

// takeOver lets the stream go on without its handler; false when that cannot be
// (HTTP/2). A stream that lives in its handler keeps what handling a request
// takes: a deep stack, buffers for reading and writing, the request with its
// headers; some 30 KB. One that has its connection to itself keeps two shallow
// stacks.
func (s *stream) takeOver(request *http.Request, answer *response) bool {
	if request.ProtoMajor != 1 {
		return false
	}
	// The headers go out with the deadline of the stream, not of a page.
	if s.extend() != nil || answer.control.Flush() != nil {
		s.feed.remove(s.reader)
		return true
	}
	taken, _, err := answer.control.Hijack()
	switch {
	case errors.Is(err, http.ErrNotSupported):
		return false
	case err != nil:
		s.feed.remove(s.reader)
		return true
	}
	s.out, s.deadline, s.quick = connection{taken}, time.Time{}, true
	// The request's own context ends with its handler.
	ctx := context.Background()
	if trace, ok := transport.TraceFrom(request.Context()); ok {
		ctx = transport.WithTrace(ctx, trace)
	}
	ctx, gone := context.WithCancel(ctx)
	go func() {
		defer gone()
		defer taken.Close()
		s.run(ctx)
	}()
	go awaitClose(taken, gone)
	return true
}

// awaitClose calls gone when the browser has closed the connection. It has
// nothing more to say: what it sends is thrown away.
func awaitClose(c net.Conn, gone context.CancelFunc) {
	defer gone()
	var some [64]byte
	for {
		if _, err := c.Read(some[:]); err != nil {
			return
		}
	}
}
