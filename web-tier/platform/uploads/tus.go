package uploads

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

const (
	version    = "1.0.0"
	extensions = "creation,creation-with-upload,creation-defer-length,termination,expiration"
	// octets is the media type of file bytes in the tus protocol.
	octets = "application/offset+octet-stream"
)

// Handler serves the tus protocol at /uploads and /uploads/{upload}. caller returns the caller
// of a request. The handler must not run inside a request-timeout middleware: a request can
// take hours.
func (u *Uploads) Handler(caller func(*http.Request) logicclient.Caller) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Tus-Resumable", version)
		h.Set("Cache-Control", "no-store")
		method := r.Method
		if override := r.Header.Get("X-HTTP-Method-Override"); method == http.MethodPost && override != "" {
			method = override // for clients behind proxies that reject PATCH
		}
		if method == http.MethodOptions {
			h.Set("Tus-Version", version)
			h.Set("Tus-Extension", extensions)
			h.Set("Tus-Max-Size", strconv.FormatInt(maxSize, 10))
			w.WriteHeader(http.StatusNoContent)
			return
		}
		c := caller(r)
		x := &exchange{uploads: u, w: w, r: r, control: http.NewResponseController(w), caller: c, ctx: logicclient.WithCaller(r.Context(), c)}
		if err := x.dispatch(method); err != nil {
			x.fail(err)
		}
	})
}

// exchange is a request and its response.
type exchange struct {
	uploads *Uploads
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	caller  logicclient.Caller
	ctx     context.Context
}

// dispatch runs the method's handler.
func (x *exchange) dispatch(method string) error {
	name := ""
	if id := x.r.PathValue("upload"); id != "" {
		name = "uploads/" + id
	}
	switch {
	case x.r.Header.Get("Tus-Resumable") != version:
		x.w.Header().Set("Tus-Version", version)
		return errVersion
	case x.caller.Session == "":
		return errSignInRequired
	case name == "" && method == http.MethodPost:
		return x.create()
	case name != "" && method == http.MethodHead:
		return x.head(name)
	case name != "" && method == http.MethodPatch:
		return x.patch(name)
	case name != "" && method == http.MethodDelete:
		return x.terminate(name)
	}
	x.w.Header().Set("Allow", "POST, HEAD, PATCH, DELETE, OPTIONS")
	return errMethod
}

func (x *exchange) head(name string) error {
	upload, err := x.uploads.get(x.ctx, name)
	if err != nil {
		return err
	}
	x.describe(upload)
	h := x.w.Header()
	switch {
	case upload.Whole:
		h.Set("Upload-Length", strconv.FormatInt(upload.Offset, 10))
	case upload.Size != nil:
		h.Set("Upload-Length", strconv.FormatInt(*upload.Size, 10))
	default:
		h.Set("Upload-Defer-Length", "1")
	}
	if metadata := writeMetadata(upload); metadata != "" {
		h.Set("Upload-Metadata", metadata)
	}
	x.w.WriteHeader(http.StatusOK)
	return nil
}

func (x *exchange) terminate(name string) error {
	// DeleteUpload is idempotent, but the protocol requires an error if the upload does not exist.
	if _, err := x.uploads.get(x.ctx, name); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(x.ctx, logicclient.FormBudget)
	defer cancel()
	if _, err := x.uploads.media.DeleteUpload(ctx, &mediapb.DeleteUploadRequest{Name: name}); err != nil {
		return err
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// describe sets the headers with the upload's offset and expiration time.
func (x *exchange) describe(upload *mediapb.Upload) {
	h := x.w.Header()
	h.Set("Upload-Offset", strconv.FormatInt(upload.Offset, 10))
	if !upload.Whole && upload.ExpireTime.IsValid() {
		h.Set("Upload-Expires", upload.ExpireTime.AsTime().Format(http.TimeFormat))
	}
}

// extend moves the read deadline to d from now, and the write deadline after it. It replaces the
// server's deadlines, which are for pages.
func (x *exchange) extend(d time.Duration) {
	now := time.Now()
	_ = x.control.SetReadDeadline(now.Add(d)) // a test's ResponseRecorder does not support deadlines
	_ = x.control.SetWriteDeadline(now.Add(d + stallTimeout + finishTimeout + writeTimeout))
}

// fail responds with err as plain text.
func (x *exchange) fail(err error) {
	p := logicclient.Explain(err).InvalidNameAsNotFound()
	switch p.Reason {
	case "OFFSET_MISMATCH":
		p.Message = "Upload-Offset is not the upload’s current offset. Get the current offset with HEAD and resume from there."
	case "UPLOAD_SUPERSEDED":
		p.Status = http.StatusLocked // tus clients react to 423 by getting the offset again
		p.Message = "A newer request is appending to this upload. Get the current offset with HEAD and resume from there."
	case "UPLOAD_TOO_LONG":
		p.Status = http.StatusRequestEntityTooLarge
	}
	if p.Status >= http.StatusInternalServerError || errors.Is(err, errInterrupted) {
		server.RecordError(x.r.Context(), err)
	}
	// Do not wait for the rest of the body beyond what is in flight.
	_ = x.control.SetReadDeadline(time.Now().Add(respondedReadTimeout))
	h := x.w.Header()
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(max(1, p.RetryAfter.Round(time.Second).Seconds()))))
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	x.w.WriteHeader(p.Status)
	if x.r.Method != http.MethodHead {
		_, _ = io.WriteString(x.w, problemText(p)+"\n") // the client may have disconnected
	}
}

var (
	errVersion = &logicclient.Problem{Status: http.StatusPreconditionFailed, Title: "Unsupported protocol version",
		Message: "Set Tus-Resumable to " + version + ", the only version of the tus protocol that this server supports."}
	errSignInRequired = &logicclient.Problem{Status: http.StatusUnauthorized, Title: "Sign in first",
		Message: "Sign in, and send the session cookie with each request."}
	errMethod = &logicclient.Problem{Status: http.StatusMethodNotAllowed, Title: "Method not allowed",
		Message: "Create an upload with POST to /uploads, then use HEAD, PATCH or DELETE on the returned Location."}
)
