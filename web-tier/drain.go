package main

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

// drainer stops the tier without failing requests. When the tier is asked to stop, /readyz
// fails first, so that load balancers send new requests to another web tier. Requests that
// still arrive during the delay are served, and each response closes its connection
// (RFC 9112, section 9.6).
type drainer struct {
	delay   time.Duration
	started atomic.Bool
}

// context returns a context that ends the delay after ctx does.
func (d *drainer) context(ctx context.Context) (context.Context, context.CancelFunc) {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		d.started.Store(true)
		time.AfterFunc(d.delay, stop)
	})
	return serving, stop
}

var errDraining = errors.New("this web tier is stopping: send requests to another")

// ready returns a readiness check that fails while the tier drains, or when check does.
func (d *drainer) ready(check func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if d.started.Load() {
			return errDraining
		}
		return check(ctx)
	}
}

func (d *drainer) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.started.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
