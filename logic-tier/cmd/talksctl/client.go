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
	// callTimeout is the deadline of a unary call.
	callTimeout = 30 * time.Second
	// retryTimeout is how long an unavailable logic tier is retried: longer than a
	// restart takes.
	retryTimeout = time.Minute
	// retryDelay is the pause between two attempts.
	retryDelay = time.Second
)

// client holds the clients of the logic tier's services.
type client struct {
	media      mediapb.MediaClient
	transfers  transferspb.TransfersClient
	operations longrunningpb.OperationsClient
	streams    operationspb.OperationStreamsClient
	queues     queuepb.QueuesClient
}

func newClient(connection grpc.ClientConnInterface) *client {
	return &client{
		media: mediapb.NewMediaClient(connection), transfers: transferspb.NewTransfersClient(connection),
		operations: longrunningpb.NewOperationsClient(connection), streams: operationspb.NewOperationStreamsClient(connection),
		queues: queuepb.NewQueuesClient(connection),
	}
}

// call calls method with callTimeout as its deadline.
func call[Q, A any](ctx context.Context, method func(context.Context, Q, ...grpc.CallOption) (A, error), request Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return method(ctx, request)
}

// isTransient reports whether err is worth a retry.
func isTransient(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted:
		return true
	}
	return false
}

// waitToRetry waits for retryDelay. It reports false if ctx was cancelled.
func waitToRetry(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(retryDelay):
		return true
	}
}

// readable rewrites a gRPC status as a message for the terminal.
func readable(err error) error {
	if s, ok := status.FromError(err); ok {
		if s.Code() == codes.Unavailable && len(s.Details()) == 0 {
			// gRPC's own error: the logic tier did not answer.
			return fmt.Errorf("%s (%s): check that the logic tier runs, and set --logic-address or LOGIC_ADDRESS to its address", s.Message(), s.Code())
		}
		return fmt.Errorf("%s (%s)", s.Message(), s.Code())
	}
	return err
}
