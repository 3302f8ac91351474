package transfers

import (
	"compress/flate"
	"context"
	"fmt"
	"io"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/work"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

var errNotOwner = apperror.New(apperror.Denied, "NOT_CHANNEL_OWNER", "only the channel's owner can export it")

// startExport starts the export of one of the owner's channels, or of all if parent is
// empty.
func (m *Module) startExport(ctx context.Context, owner caller.Person, parent, requestID string) (*longrunningpb.Operation, error) {
	title := "Export of all your channels"
	if parent != "" {
		response, err := invoke(ctx, m.deps.Channels.GetChannel, &talkspb.GetChannelRequest{Name: parent})
		switch {
		case err != nil:
			return nil, err
		case response.Channel.Owner != owner.Name():
			return nil, errNotOwner
		}
		parent = response.Channel.Name
		title = "Export of “" + response.Channel.Title + "”"
	}
	input, err := proto.Marshal(&transferspb.ExportWork{Parent: parent, OwnerHandle: owner.Handle})
	if err != nil {
		return nil, err
	}
	response, err := invoke(ctx, m.deps.Operations.CreateOperation, &operationspb.CreateOperationRequest{
		AccountId: owner.ID, Kind: exportKind, Title: title, Subject: parent, RequestId: requestID, Input: input,
	})
	if err != nil {
		return nil, err
	}
	return response.Operation, m.store.addExport(ctx, response.Operation.Name, owner.ID)
}

// doExport performs an export. If it is cancelled or fails for good, it leaves no upload
// behind.
func (m *Module) doExport(ctx context.Context, o *work.Operation) (proto.Message, error) {
	var params transferspb.ExportWork
	if err := o.Input(&params); err != nil {
		return nil, err
	}
	checkpoint := &transferspb.ExportCheckpoint{}
	if _, err := o.LoadCheckpoint(checkpoint); err != nil {
		return nil, err
	}
	response, err := m.export(ctx, o, &params, checkpoint)
	if err == nil {
		m.deleteEntries(ctx, o.Name)
		return response, nil
	}
	err = permanentError(err)
	if work.Cancelled(ctx) || work.IsPermanent(err) {
		o.Cleanup(func(ctx context.Context) error { return m.store.deleteEntries(ctx, o.Name) })
		if checkpoint.Upload != "" {
			o.Cleanup(func(ctx context.Context) error { return m.removeUpload(ctx, checkpoint.Upload) })
		}
	}
	return nil, err
}

// deleteEntries deletes the entries of a finished archive. If it fails, the sweep deletes
// them.
func (m *Module) deleteEntries(ctx context.Context, operation string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if err := m.store.deleteEntries(ctx, operation); err != nil {
		m.deps.Log.Warn("transfers: deleting the entries of a finished archive failed; the sweep deletes them", "operation", operation, "error", err)
	}
}

var errArchiveTooLarge = apperror.New(apperror.Invalid, "ARCHIVE_TOO_LARGE", "the archive would exceed the maximum file size; export one channel at a time")

// permanentError marks the media module's storage limits as permanent errors, because
// retrying does not free storage.
func permanentError(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, detail := range s.Details() {
		info, ok := detail.(*errdetails.ErrorInfo)
		if !ok {
			continue
		}
		switch info.Reason {
		case "QUOTA_EXCEEDED", "STORAGE_FULL", "TOO_MANY_UPLOADS":
			return apperror.New(apperror.Invalid, info.Reason, s.Message()).Because(err)
		case "UPLOAD_TOO_LONG":
			return errArchiveTooLarge.Because(err)
		}
	}
	return err
}

// export writes the archive from the checkpoint on.
func (m *Module) export(ctx context.Context, o *work.Operation, params *transferspb.ExportWork, checkpoint *transferspb.ExportCheckpoint) (proto.Message, error) {
	if checkpoint.Upload == "" {
		if err := m.prepare(ctx, o, params, checkpoint); err != nil {
			return nil, err
		}
	}
	response, err := invoke(ctx, m.deps.Media.GetUpload, &mediapb.GetUploadRequest{Name: checkpoint.Upload})
	switch {
	case err != nil:
		return nil, err
	case response.Upload.Whole:
		return exportResponse(checkpoint, response.Upload.Offset), nil
	case response.Upload.Offset < checkpoint.Offset:
		return nil, fmt.Errorf("%s has %d bytes, want at least %d", checkpoint.Upload, response.Upload.Offset, checkpoint.Offset)
	}
	deflate, err := flate.NewWriter(io.Discard, flate.DefaultCompression)
	if err != nil {
		return nil, err
	}
	w := &archiveWriter{
		module: m, operation: o, checkpoint: checkpoint, deflate: deflate,
		out: &uploadWriter{media: m.deps.Media, name: checkpoint.Upload, offset: checkpoint.Offset, stored: response.Upload.Offset},
	}
	defer w.out.close()
	o.SetTotal(checkpoint.Total, "talks")
	if checkpoint.Entries > 0 {
		if err := o.Step(ctx, fmt.Sprintf("Resumed. Talks so far: %d.", checkpoint.TalkCount)); err != nil {
			return nil, err
		}
	}
	size, err := w.writeAll(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := invoke(ctx, m.deps.Media.CompleteUpload, &mediapb.CompleteUploadRequest{Name: checkpoint.Upload, Size: size}); err != nil {
		return nil, err
	}
	return exportResponse(checkpoint, size), nil
}

func exportResponse(checkpoint *transferspb.ExportCheckpoint, size int64) proto.Message {
	return &transferspb.ExportArchiveResponse{File: checkpoint.Upload, Size: size, Talks: checkpoint.TalkCount, Recordings: checkpoint.RecordingCount}
}

// prepare determines the channels to export, creates the upload and saves the first
// checkpoint.
func (m *Module) prepare(ctx context.Context, o *work.Operation, params *transferspb.ExportWork, checkpoint *transferspb.ExportCheckpoint) error {
	name := params.OwnerHandle + ".zip"
	var channels []*talkspb.Channel
	if params.Parent == "" {
		response, err := invoke(ctx, m.deps.Channels.ListChannelsOfAccount, &talkspb.ListChannelsOfAccountRequest{AccountId: o.AccountID})
		if err != nil {
			return err
		}
		channels = response.Channels
	} else {
		response, err := invoke(ctx, m.deps.Channels.GetChannel, &talkspb.GetChannelRequest{Name: params.Parent})
		if err != nil {
			return err
		}
		channels = append(channels, response.Channel)
		name = lastPart(params.Parent) + ".zip"
	}
	for _, c := range channels {
		checkpoint.Channels = append(checkpoint.Channels, c.Name)
		checkpoint.Total += c.TalkCount
	}
	if checkpoint.Total+int64(len(channels)) > maxFiles {
		return errTooManyTalks
	}
	response, err := invoke(ctx, m.deps.Media.CreateUpload, &mediapb.CreateUploadRequest{FileName: name, ContentType: "application/zip", AccountId: o.AccountID})
	if err != nil {
		return err
	}
	checkpoint.Upload = response.Upload.Name
	return o.SaveCheckpoint(ctx, 0, checkpoint)
}

// errTooManyTalks rejects archives that could not be imported again.
var errTooManyTalks = apperror.New(apperror.Invalid, "ARCHIVE_TOO_LARGE", "the archive would have more than 200,000 files; export one channel at a time")
