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

// errGap: something may have been missed; the operation is read anew.
var errGap = status.Error(codes.Unavailable, "something may have been missed")

// follow tells of every change of an operation until it is over, also when the
// logic tier goes away meanwhile.
func follow(ctx context.Context, c *client, name string, changed func(*operationspb.OperationMetadata)) (*longrunningpb.Operation, error) {
	for since := time.Now(); ; {
		var last *longrunningpb.Operation
		err := followOnce(ctx, c, name, func(is *longrunningpb.Operation) error {
			since, last = time.Now(), is
			how, err := metadata(is)
			if err == nil {
				changed(how)
			}
			return err
		})
		switch {
		case err == nil:
			return last, nil
		case ctx.Err() != nil:
			return nil, fmt.Errorf(`%[1]s goes on by itself: "talksctl watch %[1]s" follows it, "talksctl cancel %[1]s" stops it`, name)
		case !interrupted(err) || time.Since(since) > patience:
			return nil, explain(err)
		}
		rest(ctx)
	}
}

// followOnce follows with one stream: first it subscribes, then it reads the
// operation, then it goes on with what is sent. Nothing falls between.
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
		said, err := stream.Recv()
		if err != nil {
			return err
		}
		var is *longrunningpb.Operation
		switch event := said.Event.(type) {
		case *operationspb.StreamOperationsResponse_Subscribed_:
			if is, err = call(ctx, c.handles.GetOperation, &longrunningpb.GetOperationRequest{Name: name}); err != nil {
				return err
			}
		case *operationspb.StreamOperationsResponse_Changed_:
			is = event.Changed.Operation
		case *operationspb.StreamOperationsResponse_Ended_:
			return ended(name, event.Ended.Reason)
		default:
			return errGap
		}
		if err := changed(is); err != nil || is.Done {
			return err
		}
	}
}

// ended is why nothing more comes.
func ended(name, reason string) error {
	if reason == "OPERATION_NOT_FOUND" {
		return status.Errorf(codes.NotFound, "there is no %s", name)
	}
	return status.Error(codes.Unavailable, reason)
}

func metadata(is *longrunningpb.Operation) (*operationspb.OperationMetadata, error) {
	how := &operationspb.OperationMetadata{}
	if is.Metadata == nil {
		return nil, errors.New(is.Name + " says nothing of how it stands")
	}
	return how, is.Metadata.UnmarshalTo(how)
}
