package abuse

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"techtalks.example/deployments/local/localtest"
)

// unfinishedPieces is as many as the web tier takes in at the same time.
const unfinishedPieces = 256

// One account sends the first bytes of many pieces of one upload and then nothing.
func TestUnfinishedPiecesOfOneUploadLeaveUploadsServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	eve := newClient(t, site.URL, attacker)
	eve.signUp("eve")
	begun := eve.send(t.Context(), http.MethodPost, "/uploads", tusHeader("Upload-Length", "1000000"), nil)
	if begun.status != "201" {
		t.Fatalf("the attacker begins an upload: %s %s", begun.status, begun.body)
	}
	attack := &flood{connections: unfinishedPieces, request: func(int) (string, string) {
		return attacker, "PATCH " + strings.TrimPrefix(begun.header.Get("Location"), site.URL) + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(site.URL, "http://") +
			"\r\n" + eve.cookie() + "\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n" +
			"Content-Type: application/offset+octet-stream\r\nContent-Length: 1000\r\n\r\nxyz"
	}}
	others := newBystander(t, site)
	others.also = func(ctx context.Context) map[string]result {
		return map[string]result{"upload": {others.upload(ctx, []byte("12345")).status, "201"}}
	}
	others.duringAttack("256 unfinished pieces of one upload", func(ctx context.Context) { attack.run(ctx, t, site) })
}

// upload creates an upload and sends all of its content with the same request (tus
// creation-with-upload).
func (c *client) upload(ctx context.Context, content []byte) answer {
	size := fmt.Sprint(len(content))
	created := c.send(ctx, http.MethodPost, "/uploads", tusHeader("Upload-Length", size, "Content-Type", "application/offset+octet-stream"), bytes.NewReader(content))
	if at := created.header.Get("Upload-Offset"); created.status == "201" && at != size {
		created.status = fmt.Sprintf("%s of %s bytes", at, size)
	}
	return created
}

// tusHeader returns header fields, given as names and values, of the tus protocol.
func tusHeader(fields ...string) http.Header {
	header := http.Header{"Tus-Resumable": {"1.0.0"}}
	for i := 0; i+1 < len(fields); i += 2 {
		header.Set(fields[i], fields[i+1])
	}
	return header
}
