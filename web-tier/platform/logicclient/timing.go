package logicclient

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"techtalks.example/proto/transport"
)

// Times adds up the time that the calls of one page took. Of concurrent calls the slowest
// counts; of sequential calls, all do.
type Times struct {
	mu      sync.Mutex
	total   transport.Timing
	current transport.Timing
}

// Done ends a group of concurrent calls.
func (t *Times) Done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.Logic += t.current.Logic
	t.total.Data += t.current.Data
	t.current.Logic, t.current.Data = 0, 0
}

// Total returns the time spent in the logic tier, the part of it spent waiting for the data
// tier, and the hosts.
func (t *Times) Total() transport.Timing {
	t.Done()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

func (t *Times) add(call transport.Timing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.LogicHost, t.total.DataHost = call.LogicHost, call.DataHost
	if call.Logic > t.current.Logic {
		t.current.Logic, t.current.Data = call.Logic, call.Data
	}
}

type timesKey struct{}

// WithTimes returns a context whose calls add their timing to t.
func WithTimes(ctx context.Context, t *Times) context.Context {
	return context.WithValue(ctx, timesKey{}, t)
}

// timesUnary reads a call's timing from its trailer.
func timesUnary(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	times, ok := ctx.Value(timesKey{}).(*Times)
	if !ok {
		return invoke(ctx, method, request, response, connection, options...)
	}
	var trailer metadata.MD
	err := invoke(ctx, method, request, response, connection, append(options, grpc.Trailer(&trailer))...)
	if timing, ok := transport.TimingFromTrailer(trailer); ok {
		times.add(timing)
	}
	return err
}

// Milliseconds returns d in milliseconds, the unit of the Server-Timing header.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
