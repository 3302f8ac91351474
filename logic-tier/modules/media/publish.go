package media

import (
	"context"
	"errors"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/work"
	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// publish makes the recording appear: it, its files and the message that it is
// ready are there together, and the upload is no more, or nothing has changed.
func (k *making) publish(ctx context.Context, f facts) error {
	err := k.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		u, err := k.store.lockUpload(ctx, tx, k.upload.id)
		if err != nil {
			return err
		}
		r := recording{
			id: newID(), account: u.account, upload: u.id, operation: k.Name, request: u.request,
			duration: f.duration, renditions: k.renditions(u, f), leftOut: k.leftOut,
		}
		picture := k.picture()
		r.poster = picture != nil
		if err := k.store.addRecording(ctx, tx, r, picture); err != nil {
			return err
		}
		_, err = k.needs.Publisher.Publish(ctx, tx, queue.Message{
			Exchange: exchange, RoutingKey: ready, Type: ready,
			Body: &mediapb.MediaReady{
				Recording: r.message(), AccountId: u.account, Operation: k.Name, RequestId: k.request.RequestId,
			},
		})
		return err
	})
	if errors.Is(err, errNoUpload) {
		// Another worker may have been here first.
		if made, found, again := k.store.recordingOf(ctx, k.upload.id); again == nil && found && made.operation == k.Name {
			return work.ErrHandedOver
		}
	}
	if err != nil {
		return err
	}
	return work.ErrHandedOver
}

// renditions are the files to play: the recording as it came first when browsers
// play it, the small one first when they may not.
func (k *making) renditions(u upload, f facts) []rendition {
	all := []rendition{{
		name: original, file: u.file.id, size: u.file.size, contentType: f.contentType, fileName: u.fileName, width: f.width, height: f.height,
	}}
	p, made := k.kept[small]
	if !made {
		return all
	}
	of480p := rendition{name: small, file: p.file.id, size: p.file.size, contentType: mp4.contentType, width: p.width, height: p.height}
	if f.playable() {
		return append(all, of480p)
	}
	return append([]rendition{of480p}, all...)
}

// picture is the poster's file; nil when there is none.
func (k *making) picture() *rendition {
	p, made := k.kept[poster]
	if !made {
		return nil
	}
	return &rendition{name: poster, file: p.file.id, size: p.file.size, contentType: "image/jpeg"}
}
