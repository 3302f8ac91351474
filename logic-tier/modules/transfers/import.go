package transfers

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/work"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

var (
	errUploadNotFound   = apperror.New(apperror.NotFound, "UPLOAD_NOT_FOUND", "upload not found; upload the catalogue first")
	errUploadIncomplete = apperror.New(apperror.Invalid, "UPLOAD_INCOMPLETE", "the upload is incomplete; send the rest first")
)

// startImport starts the import of an upload. The zero owner is the operator.
func (m *Module) startImport(ctx context.Context, owner caller.Person, upload, requestID string) (*longrunningpb.Operation, error) {
	if !isStorable(upload) {
		return nil, errUploadNotFound
	}
	title, repeated, err := m.store.importTitle(ctx, owner.ID, requestID, upload)
	if err != nil {
		return nil, err
	}
	if !repeated {
		response, err := invoke(ctx, m.deps.Media.GetUpload, &mediapb.GetUploadRequest{Name: upload})
		switch {
		case err != nil:
			return nil, err
		case response.Upload.AccountId != owner.ID:
			return nil, errUploadNotFound
		case !response.Upload.Whole:
			return nil, errUploadIncomplete
		}
		title = importTitle(response.Upload.FileName)
	}
	input, err := proto.Marshal(&transferspb.ImportWork{Upload: upload, OwnerHandle: owner.Handle})
	if err != nil {
		return nil, err
	}
	response, err := invoke(ctx, m.deps.Operations.CreateOperation, &operationspb.CreateOperationRequest{
		AccountId: owner.ID, Kind: importKind, Title: title, RequestId: requestID, Input: input,
	})
	if err != nil {
		return nil, err
	}
	return response.Operation, m.store.addImport(ctx, response.Operation.Name, owner.ID, requestID, upload, title)
}

func importTitle(fileName string) string {
	if fileName == "" {
		return "Import of a catalogue"
	}
	return "Import of “" + printable(fileName, 255) + "”"
}

// doImport performs an import. If it is cancelled or fails for good, it leaves no upload
// behind.
func (m *Module) doImport(ctx context.Context, o *work.Operation) (proto.Message, error) {
	var params transferspb.ImportWork
	if err := o.Input(&params); err != nil {
		return nil, err
	}
	checkpoint := &transferspb.ImportCheckpoint{}
	if _, err := o.LoadCheckpoint(checkpoint); err != nil {
		return nil, err
	}
	if checkpoint.Counts == nil {
		checkpoint.Counts = &transferspb.ImportCatalogueResponse{}
	}
	if !checkpoint.Finished {
		err := m.importArchive(ctx, o, &params, checkpoint)
		if err != nil && (work.Cancelled(ctx) || work.IsPermanent(err)) {
			o.Cleanup(func(ctx context.Context) error { return m.removeUpload(ctx, params.Upload) })
		}
		if err != nil {
			return nil, err
		}
	}
	// The checkpoint is marked as finished, so a repeated attempt does not need the
	// upload, which may already be deleted.
	return checkpoint.Counts, m.removeUpload(ctx, params.Upload)
}

// removeUpload deletes an upload, even if ctx has ended.
func (m *Module) removeUpload(ctx context.Context, upload string) error {
	_, err := invoke(context.WithoutCancel(ctx), m.deps.Media.DeleteUpload, &mediapb.DeleteUploadRequest{Name: upload})
	return err
}

// importArchive imports the archive from the checkpoint on. It reads the next batch
// while it imports the current one.
func (m *Module) importArchive(ctx context.Context, o *work.Operation, params *transferspb.ImportWork, checkpoint *transferspb.ImportCheckpoint) error {
	response, err := invoke(ctx, m.deps.Media.GetUpload, &mediapb.GetUploadRequest{Name: params.Upload})
	if err != nil {
		return err
	}
	src, err := m.openArchive(ctx, params.Upload, response.Upload.Offset)
	if err != nil {
		return err
	}
	defer src.close()
	_, total, unit := src.progress()
	o.SetTotal(total, unit)
	step := fmt.Sprintf("Reading %d %s.", total, unit)
	if checkpoint.Entries > 0 {
		step = fmt.Sprintf("Resumed after %d files.", checkpoint.Counts.Files)
	}
	if err := o.Step(ctx, step); err != nil {
		return err
	}
	owner := caller.Person{ID: o.AccountID, Handle: params.OwnerHandle}
	reader := &batchReader{module: m, owner: owner, archive: src, skip: checkpoint.Entries, channelErrors: map[string]string{}, batch: newBatch()}
	importer := &batchImporter{module: m, owner: owner, operation: o.Name, counts: checkpoint.Counts, rejectedChannels: map[string]string{}}
	batches := make(chan *batch, 1)
	var readErr error
	g, groupCtx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		defer close(batches)
		defer recoverPanic(&err)
		readErr = reader.run(groupCtx, batches)
		return nil // the batches read before the error are imported
	})
	g.Go(func() (err error) {
		defer recoverPanic(&err)
		for b := range batches {
			if err := m.importBatch(groupCtx, o, importer, b, checkpoint); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if readErr != nil {
		return withCounts(readErr, checkpoint.Counts)
	}
	checkpoint.Finished = true
	return o.SaveCheckpoint(ctx, total, checkpoint)
}

// recoverPanic turns a panic into an error, as the queue does in a handler's own
// goroutine: an archive that makes a parser panic must not crash the process.
func recoverPanic(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("import panicked: %v\n%s", p, debug.Stack())
	}
}

// maxStoredRejections bounds the rejections stored per import, and so their size to
// 15 MB. An archive of a few hundred KB can have 200,000 files with long names, all of
// them rejected; no user reads that many.
const maxStoredRejections = 10_000

// importBatch imports a batch, stores its rejections and saves a checkpoint.
func (m *Module) importBatch(ctx context.Context, o *work.Operation, importer *batchImporter, b *batch, checkpoint *transferspb.ImportCheckpoint) error {
	if err := importer.submit(ctx, b); err != nil {
		return err
	}
	stored := min(len(b.rejections), max(0, maxStoredRejections-int(checkpoint.Counts.Rejected)))
	if err := m.store.addRejections(ctx, o.Name, b.rejections[:stored]); err != nil {
		return err
	}
	importer.count(b)
	checkpoint.Entries = b.end
	return o.SaveCheckpoint(ctx, b.done, checkpoint)
}

// withCounts adds to a failure what was imported before it, which is kept.
func withCounts(err error, counts *transferspb.ImportCatalogueResponse) error {
	var failure *apperror.Failure
	if !errors.As(err, &failure) || counts.Files == 0 {
		return err
	}
	extended := *failure
	extended.Message += fmt.Sprintf(" (kept from the %d files before that: %d talks added, %d already present)",
		counts.Files, counts.TalksCreated, counts.TalksPresent)
	return &extended
}
