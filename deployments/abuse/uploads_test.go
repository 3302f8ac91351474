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

// unfinishedAppends is the number of PATCH requests that the web tier receives concurrently.
const unfinishedAppends = 256

// One account sends the first bytes of many appends to one upload and then stalls.
func TestUnfinishedAppendsToOneUploadLeaveOthersServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	eve := newClient(t, site.URL, attacker)
	eve.signUp("eve")
	created := eve.send(t.Context(), http.MethodPost, "/uploads", tusHeader("Upload-Length", "1000000"), nil)
	if created.status != "201" {
		t.Fatalf("create the upload: got %s %s, want 201", created.status, created.body)
	}
	attack := &flood{connections: unfinishedAppends, request: func(int) (string, string) {
		return attacker, "PATCH " + strings.TrimPrefix(created.header.Get("Location"), site.URL) + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(site.URL, "http://") +
			"\r\n" + eve.cookie() + "\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n" +
			"Content-Type: application/offset+octet-stream\r\nContent-Length: 1000\r\n\r\nxyz"
	}}
	others := newBystander(t, site)
	others.extra = func(ctx context.Context) map[string]result {
		return map[string]result{"upload": {others.upload(ctx, []byte("12345")).status, "201"}}
	}
	others.duringAttack("256 unfinished appends to one upload", func(ctx context.Context) { attack.run(ctx, t, site) })
}

// upload creates an upload together with its content (tus creation-with-upload).
func (c *client) upload(ctx context.Context, content []byte) response {
	size := fmt.Sprint(len(content))
	created := c.send(ctx, http.MethodPost, "/uploads", tusHeader("Upload-Length", size, "Content-Type", "application/offset+octet-stream"), bytes.NewReader(content))
	if offset := created.header.Get("Upload-Offset"); created.status == "201" && offset != size {
		created.status = fmt.Sprintf("%s of %s bytes", offset, size)
	}
	return created
}

// tusHeader returns the headers of a tus request, with fields given as names and values.
func tusHeader(fields ...string) http.Header {
	header := http.Header{"Tus-Resumable": {"1.0.0"}}
	for i := 0; i+1 < len(fields); i += 2 {
		header.Set(fields[i], fields[i+1])
	}
	return header
}
