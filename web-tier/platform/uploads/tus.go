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
	// octets is the media type of a piece of a file.
	octets = "application/offset+octet-stream"
)

// Handler answers the tus protocol at /uploads and /uploads/{upload}, on behalf
// of who the requests' caller is. It must not run inside a request-timeout
// middleware: a piece may take hours.
func (u *Uploads) Handler(caller func(*http.Request) logicclient.Caller) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Tus-Resumable", version)
		h.Set("Cache-Control", "no-store")
		method := r.Method
		if other := r.Header.Get("X-HTTP-Method-Override"); method == http.MethodPost && other != "" {
			method = other // for clients whose surroundings know no PATCH
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
		if err := x.answer(method); err != nil {
			x.fail(err)
		}
	})
}

// exchange is a request of the protocol and its answer.
type exchange struct {
	uploads *Uploads
	w       http.ResponseWriter
	r       *http.Request
	control *http.ResponseController
	caller  logicclient.Caller
	ctx     context.Context
}

func (x *exchange) answer(method string) error {
	name := ""
	if id := x.r.PathValue("upload"); id != "" {
		name = "uploads/" + id
	}
	switch {
	case x.r.Header.Get("Tus-Resumable") != version:
		x.w.Header().Set("Tus-Version", version)
		return otherVersion
	case x.caller.Session == "":
		return signIn
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
	return noMethod
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
	// Removing is idempotent; the protocol wants to be told of what is not there.
	if _, err := x.uploads.get(x.ctx, name); err != nil {
		return err
	}
	ctx, done := context.WithTimeout(x.ctx, logicclient.FormBudget)
	defer done()
	if _, err := x.uploads.media.DeleteUpload(ctx, &mediapb.DeleteUploadRequest{Name: name}); err != nil {
		return err
	}
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// describe says where an upload ends, and until when it is kept.
func (x *exchange) describe(upload *mediapb.Upload) {
	h := x.w.Header()
	h.Set("Upload-Offset", strconv.FormatInt(upload.Offset, 10))
	if !upload.Whole && upload.ExpireTime.IsValid() {
		h.Set("Upload-Expires", upload.ExpireTime.AsTime().Format(http.TimeFormat))
	}
}

// extend lets the client send for so much longer; the deadlines of the server are for
// pages.
func (x *exchange) extend(by time.Duration) {
	now := time.Now()
	_ = x.control.SetReadDeadline(now.Add(by)) // tests' writers have none
	_ = x.control.SetWriteDeadline(now.Add(by + stallTimeout + finishTimeout + answerTimeout))
}

// fail answers with what is wrong, in words.
func (x *exchange) fail(err error) {
	p := logicclient.Explain(err).InvalidNameAsNotFound()
	switch p.Reason {
	case "OFFSET_MISMATCH":
		p.Message = "The upload does not end at this Upload-Offset. Ask with HEAD where it ends, and continue from there."
	case "UPLOAD_SUPERSEDED":
		p.Status = http.StatusLocked // what tus clients know as: ask again, then continue
		p.Message = "A newer request appends to this upload. Ask with HEAD where it ends, and continue from there."
	case "UPLOAD_TOO_LONG":
		p.Status = http.StatusRequestEntityTooLarge
	}
	if p.Status >= http.StatusInternalServerError || errors.Is(err, cutOff) {
		server.RecordError(x.r.Context(), err)
	}
	// A body that nobody reads any more is not waited for, beyond what is on its way.
	_ = x.control.SetReadDeadline(time.Now().Add(answeredPatience))
	h := x.w.Header()
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(max(1, p.RetryAfter.Round(time.Second).Seconds()))))
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	x.w.WriteHeader(p.Status)
	if x.r.Method != http.MethodHead {
		_, _ = io.WriteString(x.w, words(p)+"\n") // the client may be gone
	}
}

var (
	otherVersion = &logicclient.Problem{Status: http.StatusPreconditionFailed, Title: "Another version",
		Message: "Say Tus-Resumable: " + version + "; this server speaks no other version of the tus protocol."}
	signIn = &logicclient.Problem{Status: http.StatusUnauthorized, Title: "Sign in first",
		Message: "Sign in, and send the session's cookie with each request."}
	noMethod = &logicclient.Problem{Status: http.StatusMethodNotAllowed, Title: "Not this method",
		Message: "Create with POST at /uploads; then HEAD, PATCH or DELETE at the Location that was answered."}
)
