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

var errNotOwner = apperror.New(apperror.Denied, "NOT_CHANNEL_OWNER", "only who made the channel may export it")

// beginExport begins the export of a person's channel, or of all of them.
func (m *Module) beginExport(ctx context.Context, owner caller.Person, parent, requestID string) (*longrunningpb.Operation, error) {
	title := "Export of all your channels"
	if parent != "" {
		answer, err := ask(ctx, m.needs.Channels.GetChannel, &talkspb.GetChannelRequest{Name: parent})
		switch {
		case err != nil:
			return nil, err
		case answer.Channel.Owner != owner.Name():
			return nil, errNotOwner
		}
		parent = answer.Channel.Name
		title = "Export of “" + answer.Channel.Title + "”"
	}
	input, err := proto.Marshal(&transferspb.ExportWork{Parent: parent, OwnerHandle: owner.Handle})
	if err != nil {
		return nil, err
	}
	answer, err := ask(ctx, m.needs.Operations.CreateOperation, &operationspb.CreateOperationRequest{
		AccountId: owner.ID, Kind: exportKind, Title: title, Subject: parent, RequestId: requestID, Input: input,
	})
	if err != nil {
		return nil, err
	}
	return answer.Operation, m.store.addExport(ctx, answer.Operation.Name, owner.ID)
}

// doExport works an export. One that ends in vain leaves no upload behind, unless
// trying again may mend it.
func (m *Module) doExport(ctx context.Context, o *work.Operation) (proto.Message, error) {
	var what transferspb.ExportWork
	if err := o.Input(&what); err != nil {
		return nil, err
	}
	at := &transferspb.ExportCheckpoint{}
	if _, err := o.LoadCheckpoint(at); err != nil {
		return nil, err
	}
	response, err := m.export(ctx, o, &what, at)
	if err == nil {
		m.forget(ctx, o.Name)
		return response, nil
	}
	err = full(err)
	if work.Cancelled(ctx) || work.IsPermanent(err) {
		o.Cleanup(func(ctx context.Context) error { return m.store.forgetArchived(ctx, o.Name) })
		if at.Upload != "" {
			o.Cleanup(func(ctx context.Context) error { return m.removeUpload(ctx, at.Upload) })
		}
	}
	return nil, err
}

// forget removes what is only needed while an archive is written. What stays is
// swept.
func (m *Module) forget(ctx context.Context, operation string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer done()
	if err := m.store.forgetArchived(ctx, operation); err != nil {
		m.needs.Log.Warn("transfers: the entries of an archive that is over are not removed", "operation", operation, "error", err)
	}
}

// errLarge: the archive is larger than a file may be.
var errLarge = apperror.New(apperror.Invalid, "ARCHIVE_TOO_LARGE", "the archive would be larger than one file may be: export one channel at a time")

// full makes a refusal of media's answer that there is no room: trying again makes
// none.
func full(err error) error {
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
			return errLarge.Because(err)
		}
	}
	return err
}

// export writes the archive from its checkpoint on.
func (m *Module) export(ctx context.Context, o *work.Operation, what *transferspb.ExportWork, at *transferspb.ExportCheckpoint) (proto.Message, error) {
	if at.Upload == "" {
		if err := m.prepare(ctx, o, what, at); err != nil {
			return nil, err
		}
	}
	is, err := ask(ctx, m.needs.Media.GetUpload, &mediapb.GetUploadRequest{Name: at.Upload})
	switch {
	case err != nil:
		return nil, err
	case is.Upload.Whole:
		return result(at, is.Upload.Offset), nil
	case is.Upload.Offset < at.Offset:
		return nil, fmt.Errorf("%s has %d bytes, fewer than the %d that were written", at.Upload, is.Upload.Offset, at.Offset)
	}
	deflate, err := flate.NewWriter(io.Discard, flate.DefaultCompression)
	if err != nil {
		return nil, err
	}
	w := &archiver{
		module: m, operation: o, at: at, deflate: deflate,
		out: &sending{media: m.needs.Media, name: at.Upload, at: at.Offset, have: is.Upload.Offset},
	}
	defer w.out.close()
	o.SetTotal(at.Total, "talks")
	if at.Entries > 0 {
		if err := o.Step(ctx, fmt.Sprintf("It goes on where it was; talks so far: %d.", at.TalkCount)); err != nil {
			return nil, err
		}
	}
	size, err := w.writeAll(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := ask(ctx, m.needs.Media.CompleteUpload, &mediapb.CompleteUploadRequest{Name: at.Upload, Size: size}); err != nil {
		return nil, err
	}
	return result(at, size), nil
}

func result(at *transferspb.ExportCheckpoint, size int64) proto.Message {
	return &transferspb.ExportArchiveResponse{File: at.Upload, Size: size, Talks: at.TalkCount, Recordings: at.RecordingCount}
}

// prepare fixes what is exported, and begins the upload.
func (m *Module) prepare(ctx context.Context, o *work.Operation, what *transferspb.ExportWork, at *transferspb.ExportCheckpoint) error {
	name := what.OwnerHandle + ".zip"
	var channels []*talkspb.Channel
	if what.Parent == "" {
		answer, err := ask(ctx, m.needs.Channels.ListChannelsOfAccount, &talkspb.ListChannelsOfAccountRequest{AccountId: o.AccountID})
		if err != nil {
			return err
		}
		channels = answer.Channels
	} else {
		answer, err := ask(ctx, m.needs.Channels.GetChannel, &talkspb.GetChannelRequest{Name: what.Parent})
		if err != nil {
			return err
		}
		channels = append(channels, answer.Channel)
		name = lastPart(what.Parent) + ".zip"
	}
	for _, c := range channels {
		at.Channels = append(at.Channels, c.Name)
		at.Total += c.TalkCount
	}
	if at.Total+int64(len(channels)) > maxFiles {
		return errManyTalks
	}
	made, err := ask(ctx, m.needs.Media.CreateUpload, &mediapb.CreateUploadRequest{FileName: name, ContentType: "application/zip", AccountId: o.AccountID})
	if err != nil {
		return err
	}
	at.Upload = made.Upload.Name
	return o.SaveCheckpoint(ctx, 0, at)
}

// errManyTalks: what could not be imported again is not exported.
var errManyTalks = apperror.New(apperror.Invalid, "ARCHIVE_TOO_LARGE", "these are more than 200,000 talks: export one channel at a time")
