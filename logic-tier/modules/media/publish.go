package media

import (
	"context"
	"errors"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/work"
	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// publish turns the upload into a recording. One transaction creates the recording, deletes
// the upload and publishes the message that the recording is ready.
func (t *transcode) publish(ctx context.Context, info mediaInfo) error {
	err := t.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		u, err := t.store.lockUpload(ctx, tx, t.upload.id)
		if err != nil {
			return err
		}
		r := recording{
			id: newID(), account: u.account, upload: u.id, operation: t.Name, request: u.request,
			duration: info.duration, renditions: t.renditions(u, info), leftOut: t.leftOut,
		}
		poster := t.poster()
		r.hasPoster = poster != nil
		if err := t.store.insertRecording(ctx, tx, r, poster); err != nil {
			return err
		}
		_, err = t.deps.Publisher.Publish(ctx, tx, queue.Message{
			Exchange: exchange, RoutingKey: ready, Type: ready,
			Body: &mediapb.MediaReady{
				Recording: r.message(), AccountId: u.account, Operation: t.Name, RequestId: t.request.RequestId,
			},
		})
		return err
	})
	if errors.Is(err, errNoUpload) {
		// Another worker of the operation may have published the recording already.
		if r, found, lookupErr := t.store.recordingByUpload(ctx, t.upload.id); lookupErr == nil && found && r.operation == t.Name {
			return work.ErrHandedOver
		}
	}
	if err != nil {
		return err
	}
	return work.ErrHandedOver
}

// renditions returns the files to play, in order of preference: the original first if
// browsers can play it, else the 480p version.
func (t *transcode) renditions(u upload, info mediaInfo) []rendition {
	all := []rendition{{
		name: fileOriginal, file: u.file.id, size: u.file.size, contentType: info.contentType, fileName: u.fileName, width: info.width, height: info.height,
	}}
	o, found := t.outputs[file480p]
	if !found {
		return all
	}
	r := rendition{name: file480p, file: o.file.id, size: o.file.size, contentType: mp4.contentType, width: o.width, height: o.height}
	if info.playable() {
		return append(all, r)
	}
	return append([]rendition{r}, all...)
}

// poster returns the poster's file, or nil if there is none.
func (t *transcode) poster() *rendition {
	o, found := t.outputs[filePoster]
	if !found {
		return nil
	}
	return &rendition{name: filePoster, file: o.file.id, size: o.file.size, contentType: "image/jpeg"}
}
