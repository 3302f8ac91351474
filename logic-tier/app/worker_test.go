package app

import (
	"context"
	"log/slog"
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// With --work=false the tier leaves the queues to any number of worker processes.
func TestWorkIsDoneBySeparateProcesses(t *testing.T) {
	r := startTierWith(t, func(s *settings) { s.work = false })
	connection := r.connect("operator")
	ada := r.signUp(connection, "ada")
	r.createChannel(ada, connection, "looms")
	o, err := transferspb.NewTransfersClient(connection).ExportArchive(ada, &transferspb.ExportArchiveRequest{RequestId: "5f0c6a1e-0000-4000-8000-000000000001"})
	if err != nil {
		t.Fatal(err)
	}
	handles := longrunningpb.NewOperationsClient(connection)
	get := func() (*longrunningpb.Operation, *operationspb.OperationMetadata) {
		t.Helper()
		o, err := handles.GetOperation(ada, &longrunningpb.GetOperationRequest{Name: o.Name})
		if err != nil {
			t.Fatal(err)
		}
		metadata := &operationspb.OperationMetadata{}
		if err := o.Metadata.UnmarshalTo(metadata); err != nil {
			t.Fatal(err)
		}
		return o, metadata
	}
	if _, metadata := get(); metadata.State != operationspb.OperationMetadata_STATE_WAITING {
		t.Errorf("state without a worker: got %s, want STATE_WAITING", metadata.State)
	}
	ctx, stop := context.WithCancel(context.Background())
	stopped := make(chan error, 2)
	for range cap(stopped) {
		worker := r.settings
		worker.adminAddress, worker.scratch = "127.0.0.1:0", t.TempDir()
		go func() { stopped <- newProcess(worker, slog.New(slog.DiscardHandler)).work(ctx) }()
	}
	r.waitFor("the operation to finish", func() bool { o, _ := get(); return o.Done })
	if _, metadata := get(); metadata.State != operationspb.OperationMetadata_STATE_SUCCEEDED {
		t.Errorf("final state: got %v, want STATE_SUCCEEDED", metadata)
	}
	stop()
	for range cap(stopped) {
		if err := <-stopped; err != nil {
			t.Errorf("worker: %v", err)
		}
	}
}
