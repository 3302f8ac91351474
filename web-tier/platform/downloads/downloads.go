// Package downloads is how bytes go out: recordings to watch, archives to keep. They
// stream through this tier a piece at a time, from wherever a browser asks
// (HTTP Range); nothing of them is kept here.
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

// Files gives the bytes of files out.
type Files struct {
	media  mediapb.MediaClient
	caller func(*http.Request) logicclient.Caller
	refuse server.Refuse
	slots  *logicclient.Slots
}

// New returns Files that reads with media on behalf of a request's caller, and
// answers with the page of a problem by refuse.
func New(media mediapb.MediaClient, caller func(*http.Request) logicclient.Caller, refuse server.Refuse) *Files {
	return &Files{media: media, caller: caller, refuse: refuse, slots: logicclient.NewSlots(slots)}
}

// Recording answers GET /recordings/{recording}/{file}, for anybody. A
// recording's bytes never change: a browser that has them need not ask.
func (f *Files) Recording(w http.ResponseWriter, r *http.Request) {
	f.serve(w, r, "recordings/"+r.PathValue("recording")+"/"+r.PathValue("file"), func(h http.Header, file *mediapb.File) {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
		if !playable(file.ContentType) {
			attach(h, file)
		}
	})
}

// Upload answers GET /files/{upload} with an upload of the caller's, to be kept.
func (f *Files) Upload(w http.ResponseWriter, r *http.Request) {
	f.serve(w, r, "uploads/"+r.PathValue("upload"), func(h http.Header, file *mediapb.File) {
		h.Set("Cache-Control", "private, no-cache")
		attach(h, file)
	})
}

func (f *Files) serve(w http.ResponseWriter, r *http.Request, name string, describe func(http.Header, *mediapb.File)) {
	caller := f.caller(r)
	release, err := f.slots.Acquire(caller)
	switch {
	case errors.Is(err, fairshare.ErrShare):
		f.refuse(w, r, tooMany)
		return
	case err != nil:
		f.refuse(w, r, full)
		return
	}
	defer release()
	ctx, leave := context.WithCancel(logicclient.WithCaller(r.Context(), caller))
	defer leave() // and with it what still streams
	file, err := f.get(ctx, name)
	if err != nil {
		p := logicclient.Explain(err)
		if p = p.OfResource(); p.Status >= http.StatusInternalServerError {
			server.Because(r.Context(), err)
		}
		f.refuse(w, r, p)
		return
	}
	h := w.Header()
	h.Set("ETag", strconv.Quote(file.Sha256))
	h.Set("Content-Type", safeType(file.ContentType))
	// Should a browser show it as a page after all, it is nobody's.
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	describe(h, file)
	if asks := r.Header.Get("Range"); !strings.HasPrefix(asks, "bytes=") || strings.Count(asks, ",") >= maxRanges {
		// Other units are passed over, as they must be; so are many ranges, which is
		// every server's right (RFC 9110, 14.2): each opens a stream.
		r.Header.Del("Range")
	}
	bytes := newReader(ctx, f.media, file)
	out := &patient{ResponseWriter: w, control: http.NewResponseController(w), park: bytes.park}
	http.ServeContent(out, r, "", file.UpdateTime.AsTime(), bytes)
	if err := bytes.failed; err != nil && r.Context().Err() == nil {
		server.Because(r.Context(), err)
		// Too little was sent: the browser must see that it was.
		panic(http.ErrAbortHandler)
	}
}

func (f *Files) get(ctx context.Context, name string) (*mediapb.File, error) {
	ctx, done := context.WithTimeout(ctx, logicclient.PageBudget)
	defer done()
	answer, err := f.media.GetFile(ctx, &mediapb.GetFileRequest{Name: name})
	if err == nil && answer.GetFile() == nil {
		err = errors.New("the logic tier sent no file")
	}
	return answer.GetFile(), err
}

// playable says whether a browser may show something of this type in a page.
func playable(kind string) bool {
	return strings.HasPrefix(kind, "video/") || strings.HasPrefix(kind, "audio/") ||
		kind == "image/jpeg" || kind == "image/png" || kind == "image/webp"
}

// safeType returns the type to say: bytes of no known type are bytes.
func safeType(kind string) string {
	if _, _, err := mime.ParseMediaType(kind); err != nil {
		return "application/octet-stream"
	}
	return kind
}

// attach has a browser keep the file, under its name.
func attach(h http.Header, file *mediapb.File) {
	name := file.FileName
	if name == "" {
		name = path.Base(file.Name)
	}
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
}

// patient is a response that may take as long as it moves: the server's deadline
// is for pages.
type patient struct {
	http.ResponseWriter
	control  *http.ResponseController
	deadline time.Time
	park     func() // drops what was read ahead
}

// Write writes, giving the browser writeTimeout to take it. While it waits for a slow
// browser nothing is read ahead.
func (p *patient) Write(bytes []byte) (int, error) {
	if now := time.Now(); p.deadline.Sub(now) < writeTimeout/2 {
		p.deadline = now.Add(writeTimeout)
		_ = p.control.SetWriteDeadline(p.deadline) // tests' writers have none
	}
	slow := time.AfterFunc(parkAfter, p.park)
	defer slow.Stop()
	return p.ResponseWriter.Write(bytes)
}

// Unwrap lets http.ResponseController reach the connection.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

var (
	tooMany = &logicclient.Problem{Status: http.StatusTooManyRequests, Title: "Too many downloads at once", RetryAfter: busyRetry,
		Message: "Your browser or your network plays and downloads more at the same time than its share. Close some, then try again."}
	full = &logicclient.Problem{Status: http.StatusServiceUnavailable, Title: "Very busy just now", RetryAfter: busyRetry,
		Message: "More people are watching than we can serve at once. Try again in a moment."}
)
