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
	// breakerThreshold is how many consecutive connection failures open the circuit. When
	// the data tier's host is unreachable, each attempt takes connectTimeout, and every
	// waiting call would wait as long.
	breakerThreshold = 5
	// breakerDelay is how long the circuit stays open before a trial connection.
	breakerDelay = 500 * time.Millisecond
)

// breaker is a connector with a circuit breaker (Nygard, "Release It!", "Circuit Breaker").
type breaker struct {
	driver.Connector
	circuit   circuitbreaker.CircuitBreaker[any]
	lastError atomic.Pointer[error] // of the last failed attempt
}

func newBreaker(c driver.Connector) *breaker {
	return &breaker{Connector: c, circuit: circuitbreaker.NewBuilder[any]().WithFailureThreshold(breakerThreshold).WithDelay(breakerDelay).Build()}
}

// Connect opens a connection, or fails at once while the circuit is open. Every failure,
// such as an expired certificate, is reported as ErrUnavailable.
func (b *breaker) Connect(ctx context.Context) (driver.Conn, error) {
	if !b.circuit.TryAcquirePermit() {
		return nil, ErrUnavailable.Because(fmt.Errorf("not connecting, since recent attempts failed: %w", *b.lastError.Load()))
	}
	connection, err := b.Connector.Connect(ctx)
	if err == nil || errors.Is(err, context.Canceled) { // a cancelled attempt tells nothing about the data tier
		b.circuit.RecordSuccess()
		return connection, err
	}
	b.lastError.Store(&err)
	b.circuit.RecordFailure()
	if ctx.Err() != nil {
		return nil, err
	}
	return nil, ErrUnavailable.Because(err)
}
