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
	// throttleSpan is how long calls are remembered, in throttleSlots.
	throttleSpan  = time.Second
	throttleSlots = 10
	// throttleFactor is how many calls are made for each that is accepted. What is
	// made beyond those that are accepted finds out when there is room again.
	throttleFactor = 1.5
	// throttleFloor is how many are made whatever became of the ones before.
	throttleFloor = 20
)

// throttle keeps calls to itself that the logic tier, having no room, would most
// likely refuse: refusing is work too, and under three times the load it would be
// most of the work there is (Beyer et al., "Site Reliability Engineering", chapter
// 21, "Client-Side Throttling").
type throttle struct {
	mu    sync.Mutex
	slots [throttleSlots]struct{ made, accepted float64 }
	at    int64
	now   func() time.Time
}

// lets says whether to make a call.
func (t *throttle) lets() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	made, accepted := t.sums()
	refuse := (made - throttleFactor*accepted - throttleFloor) / (made + 1)
	return rand.Float64() >= refuse
}

// tell notes a call that was to be made, and whether it was accepted.
func (t *throttle) tell(accepted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sums()
	slot := &t.slots[t.at%throttleSlots]
	slot.made++
	if accepted {
		slot.accepted++
	}
}

// sums forgets what is too old, and adds up the rest.
func (t *throttle) sums() (made, accepted float64) {
	at := t.now().UnixNano() / int64(throttleSpan/throttleSlots)
	for ; t.at < at; t.at++ {
		if at-t.at > throttleSlots {
			t.at = at - throttleSlots
		}
		t.slots[(t.at+1)%throttleSlots] = struct{ made, accepted float64 }{}
	}
	for _, slot := range t.slots {
		made, accepted = made+slot.made, accepted+slot.accepted
	}
	return made, accepted
}

// throttles are two, since the logic tier refuses what anybody reads before what
// somebody reads who is signed in. What changes something is always tried.
type throttles struct{ personal, public throttle }

func newThrottles() *throttles {
	return &throttles{throttle{now: time.Now}, throttle{now: time.Now}}
}

func (t *throttles) unary(ctx context.Context, method string, request, response any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	if !reading[method] {
		return invoke(ctx, method, request, response, connection, options...)
	}
	own := &t.public
	if c, _ := ctx.Value(callerKey{}).(Caller); c.Session != "" {
		own = &t.personal
	}
	if !own.lets() {
		own.tell(false)
		return errThrottled()
	}
	err := invoke(ctx, method, request, response, connection, options...)
	own.tell(status.Code(err) != codes.ResourceExhausted)
	return err
}

// errThrottled is what the logic tier would say.
func errThrottled() *Problem {
	return &Problem{Status: http.StatusServiceUnavailable, Reason: "SERVER_BUSY", Title: busy.title, Message: busy.message,
		RetryAfter: time.Second + rand.N(2*time.Second)}
}

// reading are the methods that change nothing, as their contracts say it.
var reading = methods(func(m protoreflect.MethodDescriptor) bool { return transport.Reads(m) })

// methods returns the full names of the contracts' methods that are of a kind.
func methods(kind func(protoreflect.MethodDescriptor) bool) map[string]bool {
	all := map[string]bool{}
	for _, file := range contracts {
		for method := range transport.Methods(file) {
			if kind(method) {
				all[full(method)] = true
			}
		}
	}
	return all
}

func full(method protoreflect.MethodDescriptor) string {
	return "/" + string(method.Parent().FullName()) + "/" + string(method.Name())
}
