package queue

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/postgres"
)

// Idempotent returns a handler of messages whose body is an M, for effects that
// happen once however often a message is delivered. A consumer is one of two
// kinds:
//
//   - Its whole effect is one transaction: do begins the transaction with Once.
//   - It takes several steps, or calls another service: each step has an
//     idempotency key and detects what an earlier delivery did ("insert … on
//     conflict do nothing", a checkpoint, a request_id). No step uses Once, which
//     would mark the message as handled before the last step.
//
// The handler rejects a message whose body is not an M.
func Idempotent[M any, P interface {
	*M
	proto.Message
}](do func(context.Context, Delivery, P) error) Handler {
	return func(ctx context.Context, d Delivery) error {
		body := P(new(M))
		if d.ContentType != ContentType {
			return Reject(fmt.Errorf("body has content type %q: publish it as %s", d.ContentType, ContentType))
		}
		if err := proto.Unmarshal(d.Body, body); err != nil {
			return Reject(fmt.Errorf("body is not a valid %s: %w", body.ProtoReflect().Descriptor().Name(), err))
		}
		err := do(ctx, d, body)
		if errors.Is(err, errHandled) {
			return nil
		}
		return err
	}
}

// errHandled rolls back the transaction of a message that was already handled.
var errHandled = errors.New("message already handled")

// Once marks the message as handled, in the transaction that is its whole effect.
// If the message was already handled, Once returns an error. Return that error, so
// that the transaction rolls back; Idempotent then acknowledges the message. A
// concurrent delivery of the same message blocks until the first transaction ends.
//
// Marks are stored for a day, longer than a message is redelivered.
func (d Delivery) Once(ctx context.Context, tx *postgres.Tx) error {
	isNew, err := handleOnce(ctx, tx, d.Queue, d.ID)
	if err == nil && !isNew {
		err = errHandled
	}
	return err
}
