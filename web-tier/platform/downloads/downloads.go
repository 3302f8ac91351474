// Package downloads serves files: recordings to watch and archives to download. It streams them
// from the logic tier in chunks, supports range requests, and stores nothing.
package downloads

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/proto/transport/fairshare"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

// Files serves files stored by the logic tier.
type Files struct {
	media  mediapb.MediaClient
	caller func(*http.Request) logicclient.Caller
	refuse server.ProblemHandler
	slots  *logicclient.Slots
}

// New returns a Files that reads files with media. caller returns the caller of a request, and
// refuse responds with an error page.
func New(media mediapb.MediaClient, caller func(*http.Request) logicclient.Caller, refuse server.ProblemHandler) *Files {
	return &Files{media: media, caller: caller, refuse: refuse, slots: logicclient.NewSlots(slotLimits)}
}

// Recording serves GET /recordings/{recording}/{file}. Recordings are public and immutable, so
// that browsers can cache them without revalidation.
func (f *Files) Recording(w http.ResponseWriter, r *http.Request) {
	f.serve(w, r, "recordings/"+r.PathValue("recording")+"/"+r.PathValue("file"), func(h http.Header, file *mediapb.File) {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		if !isPlayable(file.ContentType) {
			setAttachment(h, file)
		}
	})
}

// Upload serves GET /files/{upload}, an upload of the caller's account, as an attachment.
func (f *Files) Upload(w http.ResponseWriter, r *http.Request) {
	f.serve(w, r, "uploads/"+r.PathValue("upload"), func(h http.Header, file *mediapb.File) {
		h.Set("Cache-Control", "private, no-cache")
		setAttachment(h, file)
	})
}

// serve responds with the file of the given resource name. setHeaders sets the headers specific to
// the kind of file.
func (f *Files) serve(w http.ResponseWriter, r *http.Request, name string, setHeaders func(http.Header, *mediapb.File)) {
	caller := f.caller(r)
	release, err := f.slots.Acquire(caller)
	switch {
	case errors.Is(err, fairshare.ErrShare):
		f.refuse(w, r, errTooMany)
		return
	case err != nil:
		f.refuse(w, r, errBusy)
		return
	}
	defer release()
	ctx, cancel := context.WithCancel(logicclient.WithCaller(r.Context(), caller))
	defer cancel() // also ends open streams
	file, err := f.get(ctx, name)
	if err != nil {
		p := logicclient.Explain(err)
		if p = p.InvalidNameAsNotFound(); p.Status >= http.StatusInternalServerError {
			server.RecordError(r.Context(), err)
		}
		f.refuse(w, r, p)
		return
	}
	h := w.Header()
	h.Set("ETag", strconv.Quote(file.Sha256))
	h.Set("Content-Type", safeContentType(file.ContentType))
	// If a browser renders the file as a page, the page has no origin and cannot load anything.
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	setHeaders(h, file)
	if ranges := r.Header.Get("Range"); !strings.HasPrefix(ranges, "bytes=") || strings.Count(ranges, ",") >= maxRanges {
		// Ignore unknown units, as RFC 9110, 14.2 requires, and too many ranges, as it
		// permits: each range opens a stream.
		r.Header.Del("Range")
	}
	reader := newReader(ctx, f.media, file)
	sw := &slowWriter{ResponseWriter: w, control: http.NewResponseController(w), park: reader.park}
	http.ServeContent(sw, r, "", file.UpdateTime.AsTime(), reader)
	if err := reader.err; err != nil && r.Context().Err() == nil {
		server.RecordError(r.Context(), err)
		// The body is incomplete; abort the connection so that the browser notices.
		panic(http.ErrAbortHandler)
	}
}

func (f *Files) get(ctx context.Context, name string) (*mediapb.File, error) {
	ctx, cancel := context.WithTimeout(ctx, logicclient.PageBudget)
	defer cancel()
	response, err := f.media.GetFile(ctx, &mediapb.GetFileRequest{Name: name})
	if err == nil && response.GetFile() == nil {
		err = errors.New("get file: the response has no file")
	}
	return response.GetFile(), err
}

// isPlayable reports whether browsers may show files of this media type in a page.
func isPlayable(contentType string) bool {
	return strings.HasPrefix(contentType, "video/") || strings.HasPrefix(contentType, "audio/") ||
		contentType == "image/jpeg" || contentType == "image/png" || contentType == "image/webp"
}

// safeContentType returns contentType, or application/octet-stream if it is invalid.
func safeContentType(contentType string) string {
	if _, _, err := mime.ParseMediaType(contentType); err != nil {
		return "application/octet-stream"
	}
	return contentType
}

// setAttachment makes browsers save the file under its name instead of showing it.
func setAttachment(h http.Header, file *mediapb.File) {
	name := file.FileName
	if name == "" {
		name = path.Base(file.Name)
	}
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
}

// slowWriter is a response that can take any time as long as the browser reads. It replaces the
// server's write deadline, which is for pages.
type slowWriter struct {
	http.ResponseWriter
	control  *http.ResponseController
	deadline time.Time
	park     func() // drops the read-ahead buffer
}

// Write writes b. The browser has writeTimeout to read it. If the browser takes longer than
// parkAfter, Write parks the reader.
func (w *slowWriter) Write(b []byte) (int, error) {
	if now := time.Now(); w.deadline.Sub(now) < writeTimeout/2 {
		w.deadline = now.Add(writeTimeout)
		_ = w.control.SetWriteDeadline(w.deadline) // a test's ResponseRecorder does not support deadlines
	}
	parkTimer := time.AfterFunc(parkAfter, w.park)
	defer parkTimer.Stop()
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *slowWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

var (
	errTooMany = &logicclient.Problem{Status: http.StatusTooManyRequests, Title: "Too many downloads at once", RetryAfter: busyRetryAfter,
		Message: "Too many videos and downloads are active in your browser or network. Close some, then try again."}
	errBusy = &logicclient.Problem{Status: http.StatusServiceUnavailable, Title: "Very busy just now", RetryAfter: busyRetryAfter,
		Message: "Too many people are watching right now. Try again in a moment."}
)
