package live

import (
	"context"

	"google.golang.org/grpc/metadata"

	"techtalks.example/proto/transport"
)

// replayRequest asks for the events after a cursor. A fixed set of workers makes the
// calls: made on the goroutine of each stream, they would grow ten thousand stacks.
type replayRequest struct {
	ctx    context.Context
	token  string
	key    string
	after  string // empty: from now on
	result chan replayResult
}

type replayResult struct {
	page page
	err  error
}

func (f *Feed) runReplayWorker(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-f.replays:
			p, err := f.read(r.ctx, r.token, r.key, r.after)
			r.result <- replayResult{p, err}
		}
	}
}

// read calls the logic tier on behalf of a session.
func (f *Feed) read(ctx context.Context, token, key, after string) (page, error) {
	ctx, cancel := context.WithTimeout(ctx, replayTimeout)
	defer cancel()
	return f.source.read(metadata.AppendToOutgoingContext(ctx, transport.SessionKey, token), key, after)
}

// replay reads a page for a subscriber, once a replay worker is free.
func (f *Feed) replay(ctx context.Context, sub *subscriber, after string) (page, error) {
	request := replayRequest{ctx: ctx, token: sub.token, key: sub.key, after: after, result: make(chan replayResult, 1)}
	select {
	case f.replays <- request:
	case <-ctx.Done():
		return page{}, ctx.Err()
	case <-f.draining:
		return page{}, errDraining
	}
	result := <-request.result
	return result.page, result.err
}
