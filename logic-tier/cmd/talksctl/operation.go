package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/status"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// listed is how many operations are listed.
const listed = 100

// states are how an operation stands, in a word.
var states = map[operationspb.OperationMetadata_State]string{
	operationspb.OperationMetadata_STATE_WAITING: "waiting", operationspb.OperationMetadata_STATE_RUNNING: "running",
	operationspb.OperationMetadata_STATE_SUCCEEDED: "succeeded", operationspb.OperationMetadata_STATE_FAILED: "failed",
	operationspb.OperationMetadata_STATE_CANCELLED: "cancelled",
}

// listOperations prints the latest operations, a line each.
func listOperations(ctx context.Context, c *client) error {
	answer, err := call(ctx, c.handles.ListOperations, &longrunningpb.ListOperationsRequest{Name: "operations", PageSize: listed})
	if err != nil {
		return explain(err)
	}
	for _, is := range answer.Operations {
		how, err := metadata(is)
		if err != nil {
			return err
		}
		fmt.Printf("%s  %s  %-9s  %3d %%  %s\n", is.Name, how.CreateTime.AsTime().Local().Format(time.DateTime), states[how.State], how.Percent, how.Title)
	}
	if answer.NextPageToken != "" {
		fmt.Printf("and older ones: these are the latest %d\n", listed)
	}
	return nil
}

// cancelOperation asks for an operation to be stopped; that it was, watch says.
func cancelOperation(ctx context.Context, c *client, name string) error {
	if _, err := call(ctx, c.handles.CancelOperation, &longrunningpb.CancelOperationRequest{Name: name}); err != nil {
		return explain(err)
	}
	fmt.Printf("%s is to be cancelled\n", name)
	return nil
}

// watch follows an operation to its end.
func watch(ctx context.Context, c *client, name string) error {
	show := newDisplay(os.Stdout)
	defer show.end()
	is, err := follow(ctx, c, name, show.operation)
	if err != nil {
		return err
	}
	show.end()
	return conclude(ctx, c, is, show)
}

// conclude says what came of an operation.
func conclude(ctx context.Context, c *client, is *longrunningpb.Operation, show *display) error {
	how, err := metadata(is)
	if err != nil {
		return err
	}
	if how.Kind == "import" {
		if err := listRejections(ctx, c, is.Name, show); err != nil {
			return err
		}
	}
	if failed := is.GetError(); failed != nil {
		return explain(status.FromProto(failed).Err())
	}
	response, err := is.GetResponse().UnmarshalNew()
	if err != nil {
		return err
	}
	switch response := response.(type) {
	case *transferspb.ImportCatalogueResponse:
		show.result(response)
	case *transferspb.ExportArchiveResponse:
		fmt.Printf("%s: %d talks and %d recordings in %s\n", response.File, response.Talks, response.Recordings, megabytes(response.Size))
	default:
		fmt.Printf("%s: %s\n", how.Title, states[how.State])
	}
	return nil
}

// listRejections prints the files that an import did not take.
func listRejections(ctx context.Context, c *client, name string, show *display) error {
	for token := ""; ; {
		answer, err := call(ctx, c.transfers.ListRejections, &transferspb.ListRejectionsRequest{Operation: name, PageSize: 1000, PageToken: token})
		if err != nil {
			return errors.Join(errors.New("which files were not taken cannot be said just now"), explain(err))
		}
		for _, r := range answer.Rejections {
			show.rejected(r.Path, r.Reason)
		}
		if token = answer.NextPageToken; token == "" {
			return nil
		}
	}
}
