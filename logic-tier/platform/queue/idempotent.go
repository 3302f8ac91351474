package queue

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/postgres"
)

// Idempotent returns the handler of messages whose body is an M, for effects that
// are there once however often a message is delivered. Every consumer is one of
// two kinds:
//
//   - its whole effect is one transaction: do calls Once first in it;
//   - it takes several steps, or a neighbour: each step is keyed by what it is
//     about and finds what an earlier delivery did ("insert … on conflict do
//     nothing", a checkpoint, a request_id), and no step relies on Once, which
//     would call the message handled before its last step.
//
// A body that is no M is rejected: no number of tries makes it one.
func Idempotent[M any, P interface {
	*M
	proto.Message
}](do func(context.Context, Delivery, P) error) Handler {
	return func(ctx context.Context, d Delivery) error {
		body := P(new(M))
		if d.ContentType != ContentType {
			return Reject(fmt.Errorf("the body is %q: publish it as %s", d.ContentType, ContentType))
		}
		if err := proto.Unmarshal(d.Body, body); err != nil {
			return Reject(fmt.Errorf("the body is no %s: %w", body.ProtoReflect().Descriptor().Name(), err))
		}
		err := do(ctx, d, body)
		if errors.Is(err, errHandled) {
			return nil
		}
		return err
	}
}

// errHandled rolls a transaction back whose effect is there already.
var errHandled = errors.New("the message's effect is there already")

// Once marks the message as handled, in the transaction that is its whole effect.
// For a message that was handled before it returns an error, which do returns in
// its turn so that the transaction rolls back; Idempotent then acknowledges the
// message. A second delivery at the same time waits for the first.
//
// Marks are kept for a day: longer than a message is delivered again.
func (d Delivery) Once(ctx context.Context, tx *postgres.Tx) error {
	isNew, err := handleOnce(ctx, tx, d.Queue, d.ID)
	if err == nil && !isNew {
		err = errHandled
	}
	return err
}
