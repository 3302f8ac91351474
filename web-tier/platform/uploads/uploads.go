// Package uploads is how files come in: by the tus protocol, piece after piece
// through any interruption, or as a part of a form, in one go.
//
// The protocol (tus 1.0.0, with creation, creation-with-upload,
// creation-defer-length, termination and expiration) is answered here and not by
// tusd's handler, for four reasons. That one answers 400 where the protocol says
// 415, and knows no expiration. It has the length of a deferred upload declared
// before its bytes, where the logic tier takes it after them. Its Location is
// absolute, made of headers that the client sends; behind a proxy that ends TLS
// a page may not follow it. And it asks how far an upload is before each piece and
// keeps writers apart by locks of one process, where the logic tier's own answer
// to the piece holds for any number of web tiers.
package uploads

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/proto/transport/fairshare"
	"techtalks.example/web-tier/platform/logicclient"
)

// Uploads passes files on to the logic tier. It keeps nothing of them.
type Uploads struct {
	media mediapb.MediaClient
	slots *logicclient.Slots
}

// New returns Uploads that keep files with media.
func New(media mediapb.MediaClient) *Uploads {
	return &Uploads{media: media, slots: logicclient.NewSlots(slots)}
}

// File is what a file says it is; not believed.
type File struct{ Name, ContentType, SHA256 string }

// Receive makes an upload of a file whose size shows when body ends, and returns
// it whole. When body breaks nothing is left of it: nobody knows its name to go
// on with. extend lets the client send for so much longer, as long as bytes come; it
// moves the deadlines of the connection that they come over.
func (u *Uploads) Receive(ctx context.Context, caller logicclient.Caller, file File, body io.Reader, extend func(time.Duration)) (*mediapb.Upload, error) {
	ctx = logicclient.WithCaller(ctx, caller)
	leave, err := u.enter(caller)
	if err != nil {
		return nil, err
	}
	defer leave()
	made, err := u.create(ctx, file, nil)
	if err != nil {
		return nil, err
	}
	upload, err := u.receive(ctx, made.Name, body, extend)
	if err != nil {
		u.discard(ctx, made.Name)
	}
	return upload, err
}

func (u *Uploads) receive(ctx context.Context, name string, body io.Reader, extend func(time.Duration)) (*mediapb.Upload, error) {
	upload, err := u.append(ctx, name, 0, body, func(by time.Duration) {
		if by == patience { // a form that is cut off could not be answered with a page
			extend(by)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case upload.Offset == 0:
		return nil, empty
	}
	return u.complete(ctx, name, upload.Offset)
}

func (u *Uploads) create(ctx context.Context, file File, size *int64) (*mediapb.Upload, error) {
	ctx, done := context.WithTimeout(ctx, logicclient.FormBudget)
	defer done()
	answer, err := u.media.CreateUpload(ctx, &mediapb.CreateUploadRequest{
		Size: size, FileName: file.Name, ContentType: file.ContentType, Sha256: file.SHA256,
	})
	return answer.GetUpload(), err
}

func (u *Uploads) get(ctx context.Context, name string) (*mediapb.Upload, error) {
	ctx, done := context.WithTimeout(ctx, logicclient.PageBudget)
	defer done()
	answer, err := u.media.GetUpload(ctx, &mediapb.GetUploadRequest{Name: name})
	return answer.GetUpload(), err
}

func (u *Uploads) complete(ctx context.Context, name string, size int64) (*mediapb.Upload, error) {
	ctx, done := context.WithTimeout(ctx, finishTimeout)
	defer done()
	answer, err := u.media.CompleteUpload(ctx, &mediapb.CompleteUploadRequest{Name: name, Size: size})
	return answer.GetUpload(), err
}

// discard removes an upload that nobody goes on with; should that fail, it
// expires.
func (u *Uploads) discard(ctx context.Context, name string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), logicclient.FormBudget)
	defer done()
	_, _ = u.media.DeleteUpload(ctx, &mediapb.DeleteUploadRequest{Name: name})
}

// enter takes a slot for an upload under way.
func (u *Uploads) enter(caller logicclient.Caller) (leave func(), err error) {
	leave, err = u.slots.Acquire(caller)
	switch {
	case errors.Is(err, fairshare.ErrShare):
		return nil, tooMany
	case err != nil:
		return nil, full
	}
	return leave, nil
}

var (
	full = &logicclient.Problem{Status: http.StatusServiceUnavailable, Title: "Very busy just now", RetryAfter: busyRetry,
		Message: "More files are on their way than we can take at once. Try again in a moment."}
	tooMany = &logicclient.Problem{Status: http.StatusTooManyRequests, Title: "Too many uploads at once", RetryAfter: busyRetry,
		Message: "Your browser or your network sends more files at the same time than its share. Wait until one has arrived, then try again."}
	empty = &logicclient.Problem{Status: http.StatusBadRequest, Title: "That file is empty",
		Message: "The file has no bytes. Choose another one."}
	// cutOff is what is said of a body that broke, should somebody still listen.
	cutOff = &logicclient.Problem{Status: http.StatusRequestTimeout, Title: "The file did not arrive",
		Message: "The connection broke, or next to nothing came over it for 30 seconds. What has arrived of a resumable upload stays: go on where it ends."}
)

// IsInterrupted says whether an upload failed because its bytes stopped coming.
func IsInterrupted(err error) bool { return errors.Is(err, cutOff) }
