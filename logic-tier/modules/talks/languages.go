package talks

import (
	"context"
	"sync"
	"time"
)

// languagesAge is how old the list of languages may be.
const languagesAge = 10 * time.Second

// languages is the list of languages that there are talks in. Every list of talks
// comes with it, and it changes once in a while: it is read anew when it is old,
// by one caller, and the others take the old one meanwhile.
type languages struct {
	mu      sync.Mutex
	list    []string
	read    time.Time // zero: never
	reading bool
}

func (l *languages) get(ctx context.Context, read func(context.Context) ([]string, error)) ([]string, error) {
	l.mu.Lock()
	old, known := l.list, !l.read.IsZero()
	if known && (l.reading || time.Since(l.read) < languagesAge) {
		l.mu.Unlock()
		return old, nil
	}
	l.reading = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.reading = false
	}()
	list, err := read(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list, l.read = list, time.Now()
	return list, nil
}
