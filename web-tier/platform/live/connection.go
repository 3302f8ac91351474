package live

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"techtalks.example/proto/transport"
)

// output is the transport that a stream writes to.
type output interface {
	// send writes all buffers. On error the buffers hold what was not written.
	send(*net.Buffers) error
	// SetWriteDeadline sets the deadline of later writes.
	SetWriteDeadline(time.Time) error
}

// response is the output of a stream inside its handler: all of an HTTP/2 stream,
// and the headers of an HTTP/1.1 stream.
type response struct {
	w          http.ResponseWriter
	controller *http.ResponseController
}

// writeHeader sends the headers. With untilClose the body is not chunked and extends
// to the end of the connection (RFC 9112, 6.3), so that the owner of a hijacked
// connection writes events without framing them.
func (r *response) writeHeader(untilClose bool) {
	h := r.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache, no-transform")
	// Disables response buffering in nginx and compatible proxies.
	h.Set("X-Accel-Buffering", "no")
	if untilClose {
		h.Set("Transfer-Encoding", "identity") // disables chunking in net/http; it is not sent
	}
	r.w.WriteHeader(http.StatusOK)
}

func (r *response) send(buffers *net.Buffers) error {
	for _, b := range *buffers {
		if _, err := r.w.Write(b); err != nil {
			return err
		}
	}
	return r.controller.Flush()
}

func (r *response) SetWriteDeadline(t time.Time) error { return r.controller.SetWriteDeadline(t) }

// connection is the output of a stream that has hijacked its connection.
type connection struct{ net.Conn }

func (c connection) send(buffers *net.Buffers) error {
	if len(*buffers) == 1 {
		n, err := c.Write((*buffers)[0])
		if err != nil {
			*buffers = net.Buffers{(*buffers)[0][n:]}
		}
		return err
	}
	// WriteTo consumes the slice headers, which belong to this stream. It does not
	// modify the bytes, which streams share.
	_, err := buffers.WriteTo(c.Conn)
	return err
}

// hijack runs the stream on its own goroutines, so that its handler can return. It
// reports false if the protocol does not allow that (HTTP/2).
//
// A stream inside its handler keeps the handler's deep stack, the read and write
// buffers, and the request with its headers: some 30 KB. A hijacked stream keeps two
// shallow stacks.
func (s *stream) hijack(request *http.Request, response *response) bool {
	if request.ProtoMajor != 1 {
		return false
	}
	// The headers go out under the stream's write deadline, not the page's.
	if s.extendDeadline() != nil || response.controller.Flush() != nil {
		s.feed.remove(s.subscriber)
		return true
	}
	conn, _, err := response.controller.Hijack()
	switch {
	case errors.Is(err, http.ErrNotSupported):
		return false
	case err != nil:
		s.feed.remove(s.subscriber)
		return true
	}
	s.out, s.deadline, s.hijacked = connection{conn}, time.Time{}, true
	// The request's context is canceled when its handler returns.
	ctx := context.Background()
	if trace, ok := transport.TraceFrom(request.Context()); ok {
		ctx = transport.WithTrace(ctx, trace)
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		defer conn.Close()
		s.run(ctx)
	}()
	go cancelOnClose(conn, cancel)
	return true
}

// cancelOnClose calls cancel when the browser closes the connection. It discards
// what the browser sends until then.
func cancelOnClose(conn net.Conn, cancel context.CancelFunc) {
	defer cancel()
	var discarded [64]byte
	for {
		if _, err := conn.Read(discarded[:]); err != nil {
			return
		}
	}
}
