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

// pageSize is how many operations, or dead letters, a list shows.
const pageSize = 100

var stateNames = map[operationspb.OperationMetadata_State]string{
	operationspb.OperationMetadata_STATE_WAITING: "waiting", operationspb.OperationMetadata_STATE_RUNNING: "running",
	operationspb.OperationMetadata_STATE_SUCCEEDED: "succeeded", operationspb.OperationMetadata_STATE_FAILED: "failed",
	operationspb.OperationMetadata_STATE_CANCELLED: "cancelled",
}

// listOperations prints the latest operations, one per line.
func listOperations(ctx context.Context, c *client) error {
	response, err := call(ctx, c.operations.ListOperations, &longrunningpb.ListOperationsRequest{Name: "operations", PageSize: pageSize})
	if err != nil {
		return readable(err)
	}
	for _, o := range response.Operations {
		m, err := metadata(o)
		if err != nil {
			return err
		}
		fmt.Printf("%s  %s  %-9s  %3d %%  %s\n", o.Name, m.CreateTime.AsTime().Local().Format(time.DateTime), stateNames[m.State], m.Percent, m.Title)
	}
	if response.NextPageToken != "" {
		fmt.Printf("Showing the latest %d. There are older ones.\n", pageSize)
	}
	return nil
}

// cancelOperation requests cancellation of an operation, and does not wait for it.
func cancelOperation(ctx context.Context, c *client, name string) error {
	if _, err := call(ctx, c.operations.CancelOperation, &longrunningpb.CancelOperationRequest{Name: name}); err != nil {
		return readable(err)
	}
	fmt.Printf("Cancellation of %s requested.\n", name)
	return nil
}

// watch follows an operation until it is done.
func watch(ctx context.Context, c *client, name string) error {
	d := newDisplay(os.Stdout)
	defer d.endBar()
	return followAndReport(ctx, c, name, d)
}

// followAndReport follows an operation until it is done, and prints its result.
func followAndReport(ctx context.Context, c *client, name string, d *display) error {
	o, err := follow(ctx, c, name, d.operation)
	if err != nil {
		return err
	}
	d.endBar()
	return report(ctx, c, o, d)
}

// report prints the result of an operation. It returns the error of a failed one.
func report(ctx context.Context, c *client, o *longrunningpb.Operation, d *display) error {
	m, err := metadata(o)
	if err != nil {
		return err
	}
	if m.Kind == "import" {
		if err := listRejections(ctx, c, o.Name, d); err != nil {
			return err
		}
	}
	if failure := o.GetError(); failure != nil {
		return readable(status.FromProto(failure).Err())
	}
	response, err := o.GetResponse().UnmarshalNew()
	if err != nil {
		return err
	}
	switch response := response.(type) {
	case *transferspb.ImportCatalogueResponse:
		d.result(response)
	case *transferspb.ExportArchiveResponse:
		fmt.Printf("%s: %d talks and %d recordings in %s\n", response.File, response.Talks, response.Recordings, megabytes(response.Size))
	default:
		fmt.Printf("%s: %s\n", m.Title, stateNames[m.State])
	}
	return nil
}

// listRejections prints the files that an import rejected.
func listRejections(ctx context.Context, c *client, name string, d *display) error {
	for token := ""; ; {
		response, err := call(ctx, c.transfers.ListRejections, &transferspb.ListRejectionsRequest{Operation: name, PageSize: 1000, PageToken: token})
		if err != nil {
			return errors.Join(errors.New("cannot list the rejected files"), readable(err))
		}
		for _, r := range response.Rejections {
			d.rejected(r.Path, r.Reason)
		}
		if token = response.NextPageToken; token == "" {
			return nil
		}
	}
}
