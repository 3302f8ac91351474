package main

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

// drain is how this tier goes without anybody noticing: whoever spreads requests
// over several web tiers is told first, by /readyz, and sends the next ones
// elsewhere; what still comes meanwhile is answered as ever, and each answer ends
// its connection (RFC 9112, section 9.6).
type drain struct {
	delay time.Duration
	begun atomic.Bool
}

// after returns a context that ends the delay after ctx does.
func (d *drain) after(ctx context.Context) (context.Context, context.CancelFunc) {
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		d.begun.Store(true)
		time.AfterFunc(d.delay, stop)
	})
	return serving, stop
}

var errDraining = errors.New("this web tier is stopping: send requests to another")

// ready is nil while requests may come here and the logic tier answers.
func (d *drain) ready(logic func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if d.begun.Load() {
			return errDraining
		}
		return logic(ctx)
	}
}

func (d *drain) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.begun.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
