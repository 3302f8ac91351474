// Package uploads receives files: resumably with the tus protocol, or in one request as part of
// a form.
//
// It implements tus 1.0.0 with the extensions creation, creation-with-upload,
// creation-defer-length, termination and expiration. It does not use tusd's handler, for four
// reasons:
//   - tusd responds with 400 where the protocol requires 415, and has no expiration.
//   - tusd requires the length of a deferred upload before its bytes. The logic tier takes it
//     after them.
//   - tusd returns an absolute Location, built from headers of the client. Behind a proxy that
//     terminates TLS, a page may not be allowed to follow it.
//   - tusd gets the offset before every request, and serializes writers with locks in one
//     process. The logic tier's checks on append hold for any number of web tiers.
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

// Uploads forwards files to the logic tier. It stores nothing itself.
type Uploads struct {
	media mediapb.MediaClient
	slots *logicclient.Slots
}

// New returns an Uploads that stores files with media.
func New(media mediapb.MediaClient) *Uploads {
	return &Uploads{media: media, slots: logicclient.NewSlots(slotLimits)}
}

// File describes a file according to the client. The logic tier does not trust it.
type File struct{ Name, ContentType, SHA256 string }

// Receive stores a file of unknown size from body and returns the completed upload. If reading
// body fails, Receive deletes the upload: the client cannot resume it, as it does not know its
// name. As long as bytes arrive, Receive calls extend to move the connection's read deadline.
func (u *Uploads) Receive(ctx context.Context, caller logicclient.Caller, file File, body io.Reader, extend func(time.Duration)) (*mediapb.Upload, error) {
	ctx = logicclient.WithCaller(ctx, caller)
	release, err := u.acquire(caller)
	if err != nil {
		return nil, err
	}
	defer release()
	created, err := u.create(ctx, file, nil)
	if err != nil {
		return nil, err
	}
	upload, err := u.receive(ctx, created.Name, body, extend)
	if err != nil {
		u.discard(ctx, created.Name)
	}
	return upload, err
}

func (u *Uploads) receive(ctx context.Context, name string, body io.Reader, extend func(time.Duration)) (*mediapb.Upload, error) {
	upload, err := u.append(ctx, name, 0, body, func(d time.Duration) {
		if d == readTimeout { // a shortened deadline would keep the form from getting its error page
			extend(d)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case upload.Offset == 0:
		return nil, errEmpty
	}
	return u.complete(ctx, name, upload.Offset)
}

func (u *Uploads) create(ctx context.Context, file File, size *int64) (*mediapb.Upload, error) {
	ctx, cancel := context.WithTimeout(ctx, logicclient.FormBudget)
	defer cancel()
	response, err := u.media.CreateUpload(ctx, &mediapb.CreateUploadRequest{
		Size: size, FileName: file.Name, ContentType: file.ContentType, Sha256: file.SHA256,
	})
	return response.GetUpload(), err
}

func (u *Uploads) get(ctx context.Context, name string) (*mediapb.Upload, error) {
	ctx, cancel := context.WithTimeout(ctx, logicclient.PageBudget)
	defer cancel()
	response, err := u.media.GetUpload(ctx, &mediapb.GetUploadRequest{Name: name})
	return response.GetUpload(), err
}

func (u *Uploads) complete(ctx context.Context, name string, size int64) (*mediapb.Upload, error) {
	ctx, cancel := context.WithTimeout(ctx, finishTimeout)
	defer cancel()
	response, err := u.media.CompleteUpload(ctx, &mediapb.CompleteUploadRequest{Name: name, Size: size})
	return response.GetUpload(), err
}

// discard deletes an upload that cannot be resumed. If that fails, the upload expires later.
func (u *Uploads) discard(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), logicclient.FormBudget)
	defer cancel()
	_, _ = u.media.DeleteUpload(ctx, &mediapb.DeleteUploadRequest{Name: name})
}

// acquire acquires a slot for an upload in progress.
func (u *Uploads) acquire(caller logicclient.Caller) (release func(), err error) {
	release, err = u.slots.Acquire(caller)
	switch {
	case errors.Is(err, fairshare.ErrShare):
		return nil, errTooMany
	case err != nil:
		return nil, errBusy
	}
	return release, nil
}

var (
	errBusy = &logicclient.Problem{Status: http.StatusServiceUnavailable, Title: "Very busy just now", RetryAfter: busyRetryAfter,
		Message: "Too many files are being uploaded right now. Try again in a moment."}
	errTooMany = &logicclient.Problem{Status: http.StatusTooManyRequests, Title: "Too many uploads at once", RetryAfter: busyRetryAfter,
		Message: "Too many uploads are in progress from your browser or network. Wait until one finishes, then try again."}
	errEmpty = &logicclient.Problem{Status: http.StatusBadRequest, Title: "Empty file",
		Message: "The file has no bytes. Choose another one."}
	// errInterrupted reports that reading the body failed.
	errInterrupted = &logicclient.Problem{Status: http.StatusRequestTimeout, Title: "The file did not arrive",
		Message: "The connection broke or was too slow for 30 seconds. Resume the upload from the bytes that have arrived."}
)

// IsInterrupted reports whether an upload failed because the client stopped sending.
func IsInterrupted(err error) bool { return errors.Is(err, errInterrupted) }
