package media

import (
	"context"
	"sync"
)

// appendSessions admits one AppendUpload call per upload in this process. A newer call
// supersedes an older one, so a client that reconnects need not wait until the server
// detects that its old connection is dead. Calls in two processes are serialised by their
// offsets instead; see uploadAppender.commitIn.
type appendSessions struct {
	mu      sync.Mutex
	current map[string]*appendSession // by upload id; bounded by the streams that the server admits
}

// appendSession is an AppendUpload call that has been admitted.
type appendSession struct {
	superseded chan struct{} // closed when a newer call supersedes this one
	done       chan struct{} // closed when all data this call received is committed
}

// acquire admits the caller to an upload. If another call was admitted, acquire supersedes
// it and waits until all data it received is committed; waited reports that. It fails when
// ctx ends first.
func (a *appendSessions) acquire(ctx context.Context, upload string) (session *appendSession, waited bool, err error) {
	session = &appendSession{superseded: make(chan struct{}), done: make(chan struct{})}
	a.mu.Lock()
	if a.current == nil {
		a.current = map[string]*appendSession{}
	}
	previous := a.current[upload]
	a.current[upload] = session
	a.mu.Unlock()
	if previous == nil {
		return session, false, nil
	}
	close(previous.superseded)
	select {
	case <-previous.done:
		return session, true, nil
	case <-ctx.Done():
		a.release(upload, session)
		return nil, true, ctx.Err()
	}
}

// release ends a session, all of whose data has been committed.
func (a *appendSessions) release(upload string, session *appendSession) {
	a.mu.Lock()
	if a.current[upload] == session {
		delete(a.current, upload)
	}
	a.mu.Unlock()
	close(session.done)
}
