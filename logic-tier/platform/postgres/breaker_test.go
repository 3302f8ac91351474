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

// network is a connector whose connections cannot be made for a while.
type network struct {
	driver.Connector
	down  bool
	tried int
}

func (n *network) Connect(context.Context) (driver.Conn, error) {
	n.tried++
	if n.down {
		return nil, errors.New("no route to host")
	}
	return nil, nil
}

// A data tier that cannot be reached is not tried for everybody who waits, and is found
// again by itself.
func TestConnectionsThatCannotBeMadeAreNotAllTried(t *testing.T) {
	t.Parallel()
	n := &network{down: true}
	b := newBreaker(n)
	for range 100 {
		_, err := b.Connect(t.Context())
		if err == nil {
			t.Fatal("a connection was made")
		}
		var refused *apperror.Failure
		if err = translate(err); !errors.Is(err, ErrUnavailable) || !errors.As(err, &refused) || refused.RetryAfter == 0 || !strings.Contains(refused.Error(), "no route to host") {
			t.Fatalf("after %d that were tried it is answered %v", n.tried, err)
		}
	}
	if n.tried > 2*breakAfter {
		t.Errorf("%d connections are tried", n.tried)
	}
	n.down = false
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := b.Connect(t.Context()); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is never tried again")
		}
	}
	if _, err := b.Connect(t.Context()); err != nil {
		t.Errorf("with the network back: %v", err)
	}
}
