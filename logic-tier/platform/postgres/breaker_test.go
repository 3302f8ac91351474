package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
)

// network is a connector that fails while down is set.
type network struct {
	driver.Connector
	down     bool
	attempts int
}

func (n *network) Connect(context.Context) (driver.Conn, error) {
	n.attempts++
	if n.down {
		return nil, errors.New("no route to host")
	}
	return nil, nil
}

// The breaker limits connection attempts to an unreachable data tier, and reconnects once it
// is reachable.
func TestBreakerLimitsConnectionAttempts(t *testing.T) {
	t.Parallel()
	n := &network{down: true}
	b := newBreaker(n)
	for range 100 {
		_, err := b.Connect(t.Context())
		if err == nil {
			t.Fatal("Connect succeeded while the network was down")
		}
		var failure *apperror.Failure
		if err = translate(err); !errors.Is(err, ErrUnavailable) || !errors.As(err, &failure) || failure.RetryAfter == 0 || !strings.Contains(failure.Error(), "no route to host") {
			t.Fatalf("Connect after %d attempts: got %v, want ErrUnavailable with RetryAfter and the cause", n.attempts, err)
		}
	}
	if n.attempts > 2*breakerThreshold {
		t.Errorf("connection attempts: got %d, want at most %d", n.attempts, 2*breakerThreshold)
	}
	n.down = false
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := b.Connect(t.Context()); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the breaker did not reconnect")
		}
	}
	if _, err := b.Connect(t.Context()); err != nil {
		t.Errorf("Connect after the network recovered: %v", err)
	}
}
