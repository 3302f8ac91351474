package transport

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// Trace is a position in a trace (W3C Trace Context, level 1): which request
// this is part of, and which part.
type Trace struct {
	id    [16]byte
	span  [8]byte
	flags byte
}

// NewTrace starts a trace.
func NewTrace() Trace {
	t := Trace{flags: 1}
	// It names, it keeps no secret; an id of zeros only is not allowed (section 3.2.2.3).
	binary.BigEndian.PutUint64(t.id[:8], rand.Uint64()|1)
	binary.BigEndian.PutUint64(t.id[8:], rand.Uint64())
	return t.Child()
}

// ParseTrace reads a traceparent header; false when it is not one.
func ParseTrace(traceparent string) (Trace, bool) {
	// version "-" trace-id "-" parent-id "-" trace-flags; a later version may
	// append fields (section 3.2.4), version 00 may not.
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
		into []byte
		from string
	}{{head[:], version}, {t.id[:], traceparent[3:35]}, {t.span[:], traceparent[36:52]}, {flags[:], traceparent[53:55]}} {
		for _, c := range part.from {
			if c >= 'A' && c <= 'F' {
				return Trace{}, false
			}
		}
		if _, err := hex.Decode(part.into, []byte(part.from)); err != nil {
			return Trace{}, false
		}
	}
	t.flags = flags[0]
	if t.id == [16]byte{} || t.span == [8]byte{} {
		return Trace{}, false
	}
	return t, true
}

// Child returns a new position in the same trace.
func (t Trace) Child() Trace {
	binary.BigEndian.PutUint64(t.span[:], rand.Uint64()|1)
	return t
}

// ID returns the trace's id, 32 hexadecimal digits: what log lines share.
func (t Trace) ID() string { return hex.EncodeToString(t.id[:]) }

// String returns the traceparent header.
func (t Trace) String() string {
	return "00-" + hex.EncodeToString(t.id[:]) + "-" + hex.EncodeToString(t.span[:]) + "-" + hex.EncodeToString([]byte{t.flags})
}

type traceKey struct{}

// WithTrace returns a context that carries t.
func WithTrace(ctx context.Context, t Trace) context.Context {
	return context.WithValue(ctx, traceKey{}, t)
}

// TraceFrom returns the trace that ctx carries.
func TraceFrom(ctx context.Context) (Trace, bool) {
	t, ok := ctx.Value(traceKey{}).(Trace)
	return t, ok
}

// TraceUnaryClient sends the context's trace along with a call.
func TraceUnaryClient(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(sendTrace(ctx), method, req, reply, cc, opts...)
}

// TraceStreamClient sends the context's trace along with a stream.
func TraceStreamClient(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return open(sendTrace(ctx), desc, cc, method, opts...)
}

func sendTrace(ctx context.Context) context.Context {
	if t, ok := TraceFrom(ctx); ok {
		return metadata.AppendToOutgoingContext(ctx, TraceparentKey, t.Child().String())
	}
	return ctx
}

// ReceiveTrace returns the trace that an incoming call carries, or a new one.
func ReceiveTrace(ctx context.Context) Trace {
	if values := metadata.ValueFromIncomingContext(ctx, TraceparentKey); len(values) == 1 {
		if t, ok := ParseTrace(values[0]); ok {
			return t.Child()
		}
	}
	return NewTrace()
}
