package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
)

// errGap means that updates may have been missed, so that the operation is read again.
var errGap = status.Error(codes.Unavailable, "updates may have been missed")

// follow calls changed for every change of an operation until it is done, and returns its
// final state. It reconnects while the logic tier is unavailable.
func follow(ctx context.Context, c *client, name string, changed func(*operationspb.OperationMetadata)) (*longrunningpb.Operation, error) {
	for lastUpdate := time.Now(); ; {
		var last *longrunningpb.Operation
		err := followOnce(ctx, c, name, func(o *longrunningpb.Operation) error {
			lastUpdate, last = time.Now(), o
			m, err := metadata(o)
			if err == nil {
				changed(m)
			}
			return err
		})
		switch {
		case err == nil:
			return last, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf(`stopped following; %[1]s continues: "talksctl watch %[1]s" follows it, "talksctl cancel %[1]s" cancels it`, name)
		case !isTransient(err) || time.Since(lastUpdate) > retryTimeout:
			return nil, readable(err)
		}
		waitToRetry(ctx)
	}
}

// followOnce follows an operation over one stream. It subscribes before it reads the
// operation, so that no change is missed in between.
func followOnce(ctx context.Context, c *client, name string, changed func(*longrunningpb.Operation) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.streams.StreamOperations(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&operationspb.StreamOperationsRequest{Change: &operationspb.StreamOperationsRequest_Subscribe_{
		Subscribe: &operationspb.StreamOperationsRequest_Subscribe{Subscription: 1, Operation: name},
	}}); err != nil {
		_, err = stream.Recv()
		return err
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		var o *longrunningpb.Operation
		switch event := response.Event.(type) {
		case *operationspb.StreamOperationsResponse_Subscribed_:
			if o, err = call(ctx, c.operations.GetOperation, &longrunningpb.GetOperationRequest{Name: name}); err != nil {
				return err
			}
		case *operationspb.StreamOperationsResponse_Changed_:
			o = event.Changed.Operation
		case *operationspb.StreamOperationsResponse_Ended_:
			return subscriptionError(name, event.Ended.Reason)
		default:
			return errGap
		}
		if err := changed(o); err != nil || o.Done {
			return err
		}
	}
}

// subscriptionError returns the error for a subscription that the logic tier ended.
func subscriptionError(name, reason string) error {
	if reason == "OPERATION_NOT_FOUND" {
		return status.Errorf(codes.NotFound, "%s not found", name)
	}
	return status.Error(codes.Unavailable, reason)
}

func metadata(o *longrunningpb.Operation) (*operationspb.OperationMetadata, error) {
	m := &operationspb.OperationMetadata{}
	if o.Metadata == nil {
		return nil, errors.New(o.Name + " has no metadata")
	}
	return m, o.Metadata.UnmarshalTo(m)
}
