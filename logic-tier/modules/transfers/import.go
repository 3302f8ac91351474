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
	errNoUpload   = apperror.New(apperror.NotFound, "UPLOAD_NOT_FOUND", "there is no such upload: upload the catalogue first")
	errIncomplete = apperror.New(apperror.Invalid, "UPLOAD_INCOMPLETE", "not all of the upload is there yet: send the rest first")
)

// beginImport begins the import of an upload, for a person or, without one, for
// the operator.
func (m *Module) beginImport(ctx context.Context, owner caller.Person, upload, requestID string) (*longrunningpb.Operation, error) {
	if !isStored(upload) {
		return nil, errNoUpload
	}
	title, again, err := m.store.requested(ctx, owner.ID, requestID, upload)
	if err != nil {
		return nil, err
	}
	if !again {
		is, err := ask(ctx, m.needs.Media.GetUpload, &mediapb.GetUploadRequest{Name: upload})
		switch {
		case err != nil:
			return nil, err
		case is.Upload.AccountId != owner.ID:
			return nil, errNoUpload
		case !is.Upload.Whole:
			return nil, errIncomplete
		}
		title = importTitle(is.Upload.FileName)
	}
	input, err := proto.Marshal(&transferspb.ImportWork{Upload: upload, OwnerHandle: owner.Handle})
	if err != nil {
		return nil, err
	}
	answer, err := ask(ctx, m.needs.Operations.CreateOperation, &operationspb.CreateOperationRequest{
		AccountId: owner.ID, Kind: importKind, Title: title, RequestId: requestID, Input: input,
	})
	if err != nil {
		return nil, err
	}
	return answer.Operation, m.store.addImport(ctx, answer.Operation.Name, owner.ID, requestID, upload, title)
}

func importTitle(fileName string) string {
	if fileName == "" {
		return "Import of a catalogue"
	}
	return "Import of “" + printable(fileName, 255) + "”"
}

// doImport works an import. One that ends in vain leaves no upload behind, unless
// trying again may mend it.
func (m *Module) doImport(ctx context.Context, o *work.Operation) (proto.Message, error) {
	var what transferspb.ImportWork
	if err := o.Input(&what); err != nil {
		return nil, err
	}
	at := &transferspb.ImportCheckpoint{}
	if _, err := o.LoadCheckpoint(at); err != nil {
		return nil, err
	}
	if at.Counts == nil {
		at.Counts = &transferspb.ImportCatalogueResponse{}
	}
	if !at.Finished {
		err := m.importFrom(ctx, o, &what, at)
		if err != nil && (work.Cancelled(ctx) || work.IsPermanent(err)) {
			o.Cleanup(func(ctx context.Context) error { return m.removeUpload(ctx, what.Upload) })
		}
		if err != nil {
			return nil, err
		}
	}
	// From here on the upload is not needed, and not there when this is done
	// again: the checkpoint says so.
	return at.Counts, m.removeUpload(ctx, what.Upload)
}

// removeUpload removes an upload also when ctx has ended.
func (m *Module) removeUpload(ctx context.Context, upload string) error {
	_, err := ask(context.WithoutCancel(ctx), m.needs.Media.DeleteUpload, &mediapb.DeleteUploadRequest{Name: upload})
	return err
}

// importFrom brings in what the checkpoint does not count yet. Reading and
// keeping go side by side, a batch apart.
func (m *Module) importFrom(ctx context.Context, o *work.Operation, what *transferspb.ImportWork, at *transferspb.ImportCheckpoint) error {
	is, err := ask(ctx, m.needs.Media.GetUpload, &mediapb.GetUploadRequest{Name: what.Upload})
	if err != nil {
		return err
	}
	from, err := m.open(ctx, what.Upload, is.Upload.Offset)
	if err != nil {
		return err
	}
	defer from.close()
	_, total, unit := from.progress()
	o.SetTotal(total, unit)
	step := fmt.Sprintf("Reading it: %d %s.", total, unit)
	if at.Entries > 0 {
		step = fmt.Sprintf("It goes on after %d files.", at.Counts.Files)
	}
	if err := o.Step(ctx, step); err != nil {
		return err
	}
	owner := caller.Person{ID: o.AccountID, Handle: what.OwnerHandle}
	f := &filler{module: m, owner: owner, archive: from, skip: at.Entries, known: map[string]string{}, batch: newBatch()}
	k := &keeper{module: m, owner: owner, name: o.Name, counts: at.Counts, beyond: map[string]string{}}
	batches := make(chan *batch, 1)
	var unread error
	g, side := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		defer close(batches)
		defer recovered(&err)
		unread = f.fill(side, batches)
		return nil // what was read before it is kept all the same
	})
	g.Go(func() (err error) {
		defer recovered(&err)
		for b := range batches {
			if err := m.importBatch(side, o, k, b, at); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if unread != nil {
		return withCounts(unread, at.Counts)
	}
	at.Finished = true
	return o.SaveCheckpoint(ctx, total, at)
}

// recovered turns a panic into an error, as the queue does in a handler's own
// goroutine: an archive that makes a parser panic must not end the process.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("import panicked: %v\n%s", p, debug.Stack())
	}
}

// maxListed bounds the rejections that are stored for one import, which is 15 MB at
// most. An archive of a few hundred KB can have 200,000 files with long names, all
// of them rejected; nobody reads that many.
const maxListed = 10_000

// importBatch keeps a batch, what it refused, and that this is done.
func (m *Module) importBatch(ctx context.Context, o *work.Operation, k *keeper, b *batch, at *transferspb.ImportCheckpoint) error {
	if err := k.keep(ctx, b); err != nil {
		return err
	}
	listed := min(len(b.rejections), max(0, maxListed-int(at.Counts.Rejected)))
	if err := m.store.addRejections(ctx, o.Name, b.rejections[:listed]); err != nil {
		return err
	}
	k.count(b)
	at.Entries = b.through
	return o.SaveCheckpoint(ctx, b.done, at)
}

// withCounts adds to a refusal what is in already: it stays.
func withCounts(err error, counts *transferspb.ImportCatalogueResponse) error {
	var refused *apperror.Failure
	if !errors.As(err, &refused) || counts.Files == 0 {
		return err
	}
	said := *refused
	said.Message += fmt.Sprintf(" (of the %d files before that, %d talks were added and %d were there already; they stay)",
		counts.Files, counts.TalksCreated, counts.TalksPresent)
	return &said
}
