package app

import (
	"context"
	"log/slog"
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// A tier that only answers leaves the work to processes of their own, as many as
// there are.
func TestWorkIsDoneByProcessesOfItsOwn(t *testing.T) {
	r := newRunningWith(t, func(s *settings) { s.work = false })
	connection := r.as("operator")
	ada := r.signedUp(connection, "ada")
	r.channel(ada, connection, "looms")
	o, err := transferspb.NewTransfersClient(connection).ExportArchive(ada, &transferspb.ExportArchiveRequest{RequestId: "5f0c6a1e-0000-4000-8000-000000000001"})
	if err != nil {
		t.Fatal(err)
	}
	handles := longrunningpb.NewOperationsClient(connection)
	get := func() (*longrunningpb.Operation, *operationspb.OperationMetadata) {
		t.Helper()
		is, err := handles.GetOperation(ada, &longrunningpb.GetOperationRequest{Name: o.Name})
		if err != nil {
			t.Fatal(err)
		}
		how := &operationspb.OperationMetadata{}
		if err := is.Metadata.UnmarshalTo(how); err != nil {
			t.Fatal(err)
		}
		return is, how
	}
	if _, how := get(); how.State != operationspb.OperationMetadata_STATE_WAITING {
		t.Errorf("without a worker it is %s", how.State)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	for range cap(ended) {
		worker := r.settings
		worker.adminAddress, worker.scratch = "127.0.0.1:0", t.TempDir()
		go func() { ended <- newApp(worker, slog.New(slog.DiscardHandler)).work(ctx) }()
	}
	r.until("the work is done", func() bool { is, _ := get(); return is.Done })
	if _, how := get(); how.State != operationspb.OperationMetadata_STATE_SUCCEEDED {
		t.Errorf("it ends as %v", how)
	}
	stop()
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Errorf("a worker ended with %v", err)
		}
	}
}
