package live

import (
	"context"

	"google.golang.org/grpc/metadata"

	"techtalks.example/proto/transport"
)

// replay asks for what came after a cursor. It is worked by a few goroutines of
// their own: a call on each stream's own would grow ten thousand stacks.
type replay struct {
	ctx    context.Context
	token  string
	key    string
	after  string // empty: from now on
	answer chan replayed
}

type replayed struct {
	page page
	err  error
}

func (f *Feed) workReplays(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-f.replays:
			p, err := f.read(r.ctx, r.token, r.key, r.after)
			r.answer <- replayed{p, err}
		}
	}
}

// read asks the logic tier on behalf of a session.
func (f *Feed) read(ctx context.Context, token, key, after string) (page, error) {
	ctx, done := context.WithTimeout(ctx, replayTimeout)
	defer done()
	return f.source.read(metadata.AppendToOutgoingContext(ctx, transport.SessionKey, token), key, after)
}

// replay reads a page for a reader, when it is its turn.
func (f *Feed) replay(ctx context.Context, r *reader, after string) (page, error) {
	ask := replay{ctx: ctx, token: r.token, key: r.key, after: after, answer: make(chan replayed, 1)}
	select {
	case f.replays <- ask:
	case <-ctx.Done():
		return page{}, ctx.Err()
	case <-f.draining:
		return page{}, errDraining
	}
	read := <-ask.answer
	return read.page, read.err
}
