package logicclient

import (
	"context"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"techtalks.example/proto/transport"
)

const (
	// throttleWindow is how long calls are counted, in throttleBuckets buckets.
	throttleWindow  = time.Second
	throttleBuckets = 10
	// throttleRatio is how many calls are sent per accepted call. Those beyond the accepted
	// ones detect when the logic tier has capacity again.
	throttleRatio = 1.5
	// throttleMinimum is how many calls per window are sent whatever the outcome of earlier ones.
	throttleMinimum = 20
)

// throttle implements adaptive client-side throttling: it rejects locally what the logic
// tier would likely reject. Rejecting is work too, and at three times the capacity it would
// be most of the logic tier's work (Beyer et al., "Site Reliability Engineering", chapter
// 21, "Client-Side Throttling").
type throttle struct {
	mu      sync.Mutex
	buckets [throttleBuckets]callCount
	current int64 // the number of the latest bucket, counted from the Unix epoch
	now     func() time.Time
}

type callCount struct{ requested, accepted float64 }

// allow reports whether to send a call.
func (t *throttle) allow() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	total := t.total()
	rejection := (total.requested - throttleRatio*total.accepted - throttleMinimum) / (total.requested + 1)
	return rand.Float64() >= rejection
}

// record counts a requested call, and whether the logic tier accepted it.
func (t *throttle) record(accepted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total()
	bucket := &t.buckets[t.current%throttleBuckets]
	bucket.requested++
	if accepted {
		bucket.accepted++
	}
}

// total clears expired buckets and returns the sum of the others.
func (t *throttle) total() (sum callCount) {
	current := t.now().UnixNano() / int64(throttleWindow/throttleBuckets)
	for ; t.current < current; t.current++ {
		if current-t.current > throttleBuckets {
			t.current = current - throttleBuckets
		}
		t.buckets[(t.current+1)%throttleBuckets] = callCount{}
	}
	for _, bucket := range t.buckets {
		sum.requested, sum.accepted = sum.requested+bucket.requested, sum.accepted+bucket.accepted
	}
	return sum
}

// throttles separates signed-in from anonymous callers, because the logic tier sheds
// anonymous reads first. Writes are never throttled.
type throttles struct{ signedIn, anonymous throttle }

func newThrottles() *throttles {
	return &throttles{throttle{now: time.Now}, throttle{now: time.Now}}
}

func (t *throttles) unary(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if !readMethods[method] {
		return invoke(ctx, method, request, response, connection, options...)
	}
	throttle := &t.anonymous
	if c, _ := ctx.Value(callerKey{}).(Caller); c.Session != "" {
		throttle = &t.signedIn
	}
	if !throttle.allow() {
		throttle.record(false)
		return errThrottled()
	}
	err := invoke(ctx, method, request, response, connection, options...)
	throttle.record(status.Code(err) != codes.ResourceExhausted)
	return err
}

// errThrottled returns the problem that the logic tier would return.
func errThrottled() *Problem {
	return &Problem{Status: http.StatusServiceUnavailable, Reason: "SERVER_BUSY", Title: serverBusy.title, Message: serverBusy.message,
		RetryAfter: time.Second + rand.N(2*time.Second)}
}

// readMethods is the set of methods that have no side effects, according to their contracts.
var readMethods = methodsWhere(func(m protoreflect.MethodDescriptor) bool { return transport.IsReadOnly(m) })

// methodsWhere returns the full names of the contracts' methods that match.
func methodsWhere(match func(protoreflect.MethodDescriptor) bool) map[string]bool {
	names := map[string]bool{}
	for _, file := range contracts {
		for method := range transport.Methods(file) {
			if match(method) {
				names[fullName(method)] = true
			}
		}
	}
	return names
}

func fullName(method protoreflect.MethodDescriptor) string {
	return "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
}
