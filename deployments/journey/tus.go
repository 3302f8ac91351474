package journey

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// tusHeader has the version of the resumable upload protocol that the client uses.
var tusHeader = map[string]string{"Tus-Resumable": "1.0.0"}

// withFields returns a copy of a header with more fields, given as names and values.
func withFields(header map[string]string, fields ...string) map[string]string {
	all := map[string]string{}
	for name, value := range header {
		all[name] = value
	}
	for i := 0; i+1 < len(fields); i += 2 {
		all[fields[i]] = fields[i+1]
	}
	return all
}

// Upload uploads a file by the tus protocol and returns its name, "uploads/…". It cuts the
// connection at random offsets, breaks times, and resumes from the server's offset.
// progress, if not nil, receives the offset before each request.
func (c *Client) Upload(content []byte, fileName, contentType string, breaks int, progress func(int64)) string {
	c.t.Helper()
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	created := c.do(http.MethodPost, "/uploads", withFields(tusHeader, "Upload-Length", strconv.Itoa(len(content)),
		"Upload-Metadata", "filename "+encode(fileName)+",filetype "+encode(contentType)), nil)
	location := strings.TrimPrefix(created.header.Get("Location"), c.site)
	if created.status != http.StatusCreated || !strings.HasPrefix(location, "/uploads/") {
		c.t.Fatalf("create an upload: got %s at %q, want 201 at /uploads/", created, location)
	}
	for deadline := time.Now().Add(operationTimeout); ; {
		offset := c.uploadOffset(location)
		if progress != nil {
			progress(offset)
		}
		if offset == int64(len(content)) {
			return strings.TrimPrefix(location, "/")
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("got %d of %d bytes uploaded in %s", offset, len(content), operationTimeout)
		}
		rest := content[offset:]
		breaking := breaks > 0
		ctx, cancel := context.WithCancel(c.t.Context())
		body := io.Reader(bytes.NewReader(rest))
		if breaking {
			breaks--
			body = &breakingReader{Reader: body, remaining: rand.N(len(rest)) + 1, cancel: cancel}
		}
		header := withFields(tusHeader, "Upload-Offset", strconv.FormatInt(offset, 10), "Content-Type", "application/offset+octet-stream")
		sent, err := c.try(ctx, http.MethodPatch, location, header, body)
		cancel()
		if err == nil && !breaking && sent.status >= 400 && sent.status != http.StatusServiceUnavailable && sent.status != http.StatusConflict && sent.status != http.StatusLocked {
			c.t.Fatalf("upload from byte %d: got %s", offset, sent)
		}
	}
}

// uploadOffset returns how many bytes of an upload the server has stored.
func (c *Client) uploadOffset(location string) int64 {
	c.t.Helper()
	a := c.do(http.MethodHead, location, tusHeader, nil)
	offset, err := strconv.ParseInt(a.header.Get("Upload-Offset"), 10, 64)
	if a.status >= 300 || err != nil {
		c.t.Fatalf("%s: got offset %q and status %d", location, a.header.Get("Upload-Offset"), a.status)
	}
	return offset
}

// breakingReader cancels the request after the remaining bytes.
type breakingReader struct {
	io.Reader
	remaining int
	cancel    context.CancelFunc
}

func (r *breakingReader) Read(p []byte) (int, error) {
	if r.remaining == 0 {
		r.cancel()
		return 0, fmt.Errorf("simulated network failure")
	}
	n, err := r.Reader.Read(p[:min(len(p), r.remaining)])
	r.remaining -= n
	return n, err
}
