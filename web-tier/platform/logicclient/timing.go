package logicclient

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"techtalks.example/proto/transport"
)

// Times gathers where the time of one page went. Of calls that were made side
// by side the longest counts; of those one after the other, all do.
type Times struct {
	mu      sync.Mutex
	total   transport.Timing
	current transport.Timing
}

// Done ends a group of calls that were made side by side.
func (t *Times) Done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.Logic += t.current.Logic
	t.total.Data += t.current.Data
	t.current.Logic, t.current.Data = 0, 0
}

// Total returns the time in the logic tier, the part of it that was spent
// waiting for the data tier, and the hosts.
func (t *Times) Total() transport.Timing {
	t.Done()
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

func (t *Times) add(one transport.Timing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total.LogicHost, t.total.DataHost = one.LogicHost, one.DataHost
	if one.Logic > t.current.Logic {
		t.current.Logic, t.current.Data = one.Logic, one.Data
	}
}

type timesKey struct{}

// WithTimes returns a context whose calls are timed into t.
func WithTimes(ctx context.Context, t *Times) context.Context {
	return context.WithValue(ctx, timesKey{}, t)
}

// timed reads from a call's trailer how long the tiers took.
func timed(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	times, ok := ctx.Value(timesKey{}).(*Times)
	if !ok {
		return invoke(ctx, method, request, response, connection, options...)
	}
	var trailer metadata.MD
	err := invoke(ctx, method, request, response, connection, append(options, grpc.Trailer(&trailer))...)
	if one, ok := transport.TimingFromTrailer(trailer); ok {
		times.add(one)
	}
	return err
}

// Milliseconds returns d in milliseconds, as Server-Timing has it.
func Milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
