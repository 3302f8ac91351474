package main

import (
	"context"
	"fmt"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

const (
	// callTimeout bounds a call that answers at once.
	callTimeout = 30 * time.Second
	// patience is for how long a logic tier that does not answer is tried again:
	// longer than a restart takes.
	patience = time.Minute
	// pause lies between two tries.
	pause = time.Second
)

// client is the logic tier.
type client struct {
	media     mediapb.MediaClient
	transfers transferspb.TransfersClient
	handles   longrunningpb.OperationsClient
	streams   operationspb.OperationStreamsClient
	queues    queuepb.QueuesClient
}

func newClient(connection grpc.ClientConnInterface) *client {
	return &client{
		media: mediapb.NewMediaClient(connection), transfers: transferspb.NewTransfersClient(connection),
		handles: longrunningpb.NewOperationsClient(connection), streams: operationspb.NewOperationStreamsClient(connection),
		queues: queuepb.NewQueuesClient(connection),
	}
}

// call makes a call with its own deadline.
func call[Q, A any](ctx context.Context, method func(context.Context, Q, ...grpc.CallOption) (A, error), question Q) (A, error) {
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	return method(ctx, question)
}

// interrupted says whether an error is about the way there: trying again may help.
func interrupted(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted:
		return true
	}
	return false
}

// rest waits between two tries; false when ctx ended.
func rest(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pause):
		return true
	}
}

// explain returns what a status says, without the words of the protocol.
func explain(err error) error {
	if s, ok := status.FromError(err); ok {
		if s.Code() == codes.Unavailable && len(s.Details()) == 0 {
			// Not its own words: nobody answered.
			return fmt.Errorf("%s (%s): is the logic tier there? say with --logic-address or LOGIC_ADDRESS where", s.Message(), s.Code())
		}
		return fmt.Errorf("%s (%s)", s.Message(), s.Code())
	}
	return err
}
