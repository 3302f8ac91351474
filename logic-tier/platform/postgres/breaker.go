package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

const (
	// breakAfter is how many connections in a row cannot be made before none is tried
	// for a while: each try takes until connectTimeout when the data tier's host is
	// cut off, and all who wait for one would wait as long.
	breakAfter = 5
	// breakTime is how long that is; then one is tried.
	breakTime = 500 * time.Millisecond
)

// breaker makes connections while they can be made (Nygard, "Release It!", "Circuit
// Breaker").
type breaker struct {
	driver.Connector
	circuit circuitbreaker.CircuitBreaker[any]
	last    atomic.Pointer[error] // why a connection could not be made
}

func newBreaker(c driver.Connector) *breaker {
	return &breaker{Connector: c, circuit: circuitbreaker.NewBuilder[any]().WithFailureThreshold(breakAfter).WithDelay(breakTime).Build()}
}

// Connect makes a connection, or says at once that none can be made. Whatever the reason,
// a certificate that has ended among them, to who wanted it the data tier is away.
func (b *breaker) Connect(ctx context.Context) (driver.Conn, error) {
	if !b.circuit.TryAcquirePermit() {
		return nil, ErrUnavailable.Because(fmt.Errorf("no connection is tried for a moment, since the last could not be made: %w", *b.last.Load()))
	}
	connection, err := b.Connector.Connect(ctx)
	if err == nil || errors.Is(err, context.Canceled) { // who wanted it went away: that says nothing of the data tier
		b.circuit.RecordSuccess()
		return connection, err
	}
	b.last.Store(&err)
	b.circuit.RecordFailure()
	if ctx.Err() != nil {
		return nil, err
	}
	return nil, ErrUnavailable.Because(err)
}
