package media

import (
	"context"
	"sync"
)

// appenders lets one request at a time append to an upload in this process. The newest
// wins: a client that reconnects need not wait until its old connection is found dead.
// Requests that append in two processes are told apart by their offsets; see extend.
type appenders struct {
	mu      sync.Mutex
	current map[string]*appender // by upload; bounded by the streams that the server admits
}

// appender is a request that appends to an upload.
type appender struct {
	superseded chan struct{} // closed when a newer request appends
	done       chan struct{} // closed when everything it took is committed
}

// take makes the caller the one that appends to an upload. If another request did, it
// ends that one, waits until everything it took is committed, and reports that it did.
func (a *appenders) take(ctx context.Context, upload string) (own *appender, waited bool, err error) {
	own = &appender{superseded: make(chan struct{}), done: make(chan struct{})}
	a.mu.Lock()
	if a.current == nil {
		a.current = map[string]*appender{}
	}
	previous := a.current[upload]
	a.current[upload] = own
	a.mu.Unlock()
	if previous == nil {
		return own, false, nil
	}
	close(previous.superseded)
	select {
	case <-previous.done:
		return own, true, nil
	case <-ctx.Done():
		a.leave(upload, own)
		return nil, true, ctx.Err()
	}
}

// leave reports that everything the appender took is committed.
func (a *appenders) leave(upload string, own *appender) {
	a.mu.Lock()
	if a.current[upload] == own {
		delete(a.current, upload)
	}
	a.mu.Unlock()
	close(own.done)
}
