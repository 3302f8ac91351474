package transport

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Trace is a span of a trace (W3C Trace Context, level 1): the trace identifies the request,
// the span the part of it.
type Trace struct {
	id    [16]byte
	span  [8]byte
	flags byte
}

// NewTrace starts a trace.
func NewTrace() Trace {
	t := Trace{flags: 1}
	// The id is no secret. It must not be all zeros (section 3.2.2.3).
	binary.BigEndian.PutUint64(t.id[:8], rand.Uint64()|1)
	binary.BigEndian.PutUint64(t.id[8:], rand.Uint64())
	return t.Child()
}

// ParseTrace parses a traceparent header. It reports false if the header is invalid.
func ParseTrace(traceparent string) (Trace, bool) {
	// version "-" trace-id "-" parent-id "-" trace-flags; a later version can
	// append fields (section 3.2.4), version 00 cannot.
	if len(traceparent) < 55 || traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-' {
		return Trace{}, false
	}
	version := traceparent[:2]
	if version == "ff" || version == "00" && len(traceparent) != 55 || len(traceparent) > 55 && traceparent[55] != '-' {
		return Trace{}, false
	}
	var head, flags [1]byte
	var t Trace
	for _, part := range []struct {
		dst []byte
		src string
	}{{head[:], version}, {t.id[:], traceparent[3:35]}, {t.span[:], traceparent[36:52]}, {flags[:], traceparent[53:55]}} {
		for _, c := range part.src {
			if c >= 'A' && c <= 'F' {
				return Trace{}, false
			}
		}
		if _, err := hex.Decode(part.dst, []byte(part.src)); err != nil {
			return Trace{}, false
		}
	}
	t.flags = flags[0]
	if t.id == [16]byte{} || t.span == [8]byte{} {
		return Trace{}, false
	}
	return t, true
}

// Child returns a new span of the same trace.
func (t Trace) Child() Trace {
	binary.BigEndian.PutUint64(t.span[:], rand.Uint64()|1)
	return t
}

// ID returns the trace ID, 32 hexadecimal digits, which all log lines of a request share.
func (t Trace) ID() string { return hex.EncodeToString(t.id[:]) }

// String returns t as a traceparent header.
func (t Trace) String() string {
	return "00-" + hex.EncodeToString(t.id[:]) + "-" + hex.EncodeToString(t.span[:]) + "-" + hex.EncodeToString([]byte{t.flags})
}

type traceKey struct{}

// WithTrace returns a context that carries t.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceFrom returns the trace that ctx carries, if any.
func TraceFrom(ctx context.Context) (Trace, bool) {
	t, ok := ctx.Value(traceKey{}).(Trace)
	return t, ok
}

// TraceUnaryClient is an interceptor that adds the context's trace to a call's metadata.
func TraceUnaryClient(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(withTraceMetadata(ctx), method, req, reply, cc, opts...)
}

// TraceStreamClient is an interceptor that adds the context's trace to a stream's metadata.
func TraceStreamClient(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(withTraceMetadata(ctx), desc, cc, method, opts...)
}

func withTraceMetadata(ctx context.Context) context.Context {
	if t, ok := TraceFrom(ctx); ok {
		return metadata.AppendToOutgoingContext(ctx, TraceparentKey, t.Child().String())
	}
	return ctx
}

// ReceiveTrace returns a child of the trace that an incoming call carries, or a new trace.
func ReceiveTrace(ctx context.Context) Trace {
	if values := metadata.ValueFromIncomingContext(ctx, TraceparentKey); len(values) == 1 {
		if t, ok := ParseTrace(values[0]); ok {
			return t.Child()
		}
	}
	return NewTrace()
}
