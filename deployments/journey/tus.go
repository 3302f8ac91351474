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

// tus is the version of the resumable upload protocol that the client speaks.
var tus = map[string]string{"Tus-Resumable": "1.0.0"}

func with(header map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for name, value := range header {
		all[name] = value
	}
	for i := 0; i+1 < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// Upload sends a file by the tus protocol and returns its name, "uploads/…". Its
// connection breaks at random offsets, as often as breaks says, and whenever a
// tier dies; it goes on from where the server says. progress is told how much the
// server has, after each try.
func (c *Client) Upload(content []byte, fileName, contentType string, breaks int, progress func(int64)) string {
	c.t.Helper()
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	created := c.ask(http.MethodPost, "/uploads", with(tus, "Upload-Length", strconv.Itoa(len(content)),
		"Upload-Metadata", "filename "+encode(fileName)+",filetype "+encode(contentType)), nil)
	location := strings.TrimPrefix(created.header.Get("Location"), c.site)
	if created.status != http.StatusCreated || !strings.HasPrefix(location, "/uploads/") {
		c.t.Fatalf("an upload is answered with %s at %q", created, location)
	}
	for deadline := time.Now().Add(workPatience); ; {
		at := c.offset(location)
		if progress != nil {
			progress(at)
		}
		if at == int64(len(content)) {
			return strings.TrimPrefix(location, "/")
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("of %d bytes %d arrive in %s", len(content), at, workPatience)
		}
		rest := content[at:]
		breaking := breaks > 0
		ctx, cut := context.WithCancel(c.t.Context())
		body := io.Reader(bytes.NewReader(rest))
		if breaking {
			breaks--
			body = &cutting{Reader: body, left: rand.N(len(rest)) + 1, cut: cut}
		}
		header := with(tus, "Upload-Offset", strconv.FormatInt(at, 10), "Content-Type", "application/offset+octet-stream")
		sent, err := c.try(ctx, http.MethodPatch, location, header, body)
		cut()
		if err == nil && !breaking && sent.status >= 400 && sent.status != http.StatusServiceUnavailable && sent.status != http.StatusConflict && sent.status != http.StatusLocked {
			c.t.Fatalf("bytes from %d on are answered with %s", at, sent)
		}
	}
}

// offset asks how much of an upload the server has.
func (c *Client) offset(location string) int64 {
	c.t.Helper()
	a := c.ask(http.MethodHead, location, tus, nil)
	at, err := strconv.ParseInt(a.header.Get("Upload-Offset"), 10, 64)
	if a.status >= 300 || err != nil {
		c.t.Fatalf("%s is at %q: %d", location, a.header.Get("Upload-Offset"), a.status)
	}
	return at
}

// cutting cuts the connection after so many bytes.
type cutting struct {
	io.Reader
	left int
	cut  context.CancelFunc
}

func (r *cutting) Read(into []byte) (int, error) {
	if r.left == 0 {
		r.cut()
		return 0, fmt.Errorf("the network is gone")
	}
	n, err := r.Reader.Read(into[:min(len(into), r.left)])
	r.left -= n
	return n, err
}
