package uploads_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/platform/logictest"
)

// octets is the media type of file bytes in the tus protocol.
const octets = "application/offset+octet-stream"

// waitTimeout limits every wait.
const waitTimeout = 3 * time.Minute

func open(t *testing.T) (*pagetest.Browser, *logictest.Media) {
	t.Helper()
	b := pagetest.Open(t, false, nil)
	return b.With(logictest.Session), logictest.ServeMedia(b.Logic)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(random.Uint32())
	}
	return b
}

func send(b *pagetest.Browser, method, path string, body io.Reader, headers ...string) *pagetest.Page {
	return b.Send(method, path, body, append([]string{"Tus-Resumable", "1.0.0"}, headers...)...)
}

// create creates an upload and returns its Location.
func create(t *testing.T, b *pagetest.Browser, headers ...string) string {
	t.Helper()
	p := send(b, http.MethodPost, "/uploads", nil, headers...).Is(http.StatusCreated)
	if !strings.HasPrefix(p.Header.Get("Location"), "/uploads/") || p.Header.Get("Upload-Expires") == "" {
		t.Fatalf("got headers %v, want a Location in /uploads/ and Upload-Expires", p.Header)
	}
	return p.Header.Get("Location")
}

// offset returns the upload's current offset.
func offset(t *testing.T, b *pagetest.Browser, url string) int {
	t.Helper()
	p := send(b, http.MethodHead, url, nil).Is(http.StatusOK)
	n, err := strconv.Atoi(p.Header.Get("Upload-Offset"))
	if err != nil || p.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("HEAD: got headers %v", p.Header)
	}
	return n
}

func TestOptionsListsCapabilitiesWithoutSession(t *testing.T) {
	b, _ := open(t)
	p := b.With("").Send(http.MethodOptions, "/uploads", nil).Is(http.StatusNoContent)
	for name, want := range map[string]string{
		"Tus-Version": "1.0.0", "Tus-Resumable": "1.0.0", "Tus-Max-Size": "8589934592",
		"Tus-Extension": "creation,creation-with-upload,creation-defer-length,termination,expiration",
	} {
		if got := p.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestUploadInSeveralRequests(t *testing.T) {
	b, media := open(t)
	file := randomBytes(700_001)
	sum := sha256.Sum256(file)
	metadata := func(key, value string) string { return key + " " + base64.StdEncoding.EncodeToString([]byte(value)) }
	url := create(t, b, "Upload-Length", strconv.Itoa(len(file)), "Upload-Metadata", strings.Join([]string{
		metadata("filename", `C:\videos\Über <looms>.mp4`), metadata("filetype", "video/mp4; codecs=avc1"), metadata("sha256", hex.EncodeToString(sum[:])), "unknown",
	}, ","))
	for at := offset(t, b, url); at < len(file); at = offset(t, b, url) {
		end := min(len(file), at+1+rand.IntN(len(file)/4))
		p := send(b, http.MethodPatch, url, bytes.NewReader(file[at:end]), "Content-Type", octets, "Upload-Offset", strconv.Itoa(at)).Is(http.StatusNoContent)
		if p.Header.Get("Upload-Offset") != strconv.Itoa(end) {
			t.Fatalf("after byte %d: got headers %v", end, p.Header)
		}
	}
	upload, got := media.Upload(url[1:])
	if !bytes.Equal(got, file) || !upload.Whole || upload.FileName != "Über <looms>.mp4" || upload.ContentType != "video/mp4" {
		t.Errorf("stored %d bytes as %v, want %d", len(got), upload, len(file))
	}
	p := send(b, http.MethodHead, url, nil)
	if p.Header.Get("Upload-Length") != strconv.Itoa(len(file)) || !strings.Contains(p.Header.Get("Upload-Metadata"), metadata("filetype", "video/mp4")) {
		t.Errorf("HEAD: got headers %v", p.Header)
	}
}

// disconnectingBody is a body whose client disconnects at the end of r.
type disconnectingBody struct {
	r          io.Reader
	disconnect context.CancelFunc
}

func (b *disconnectingBody) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err == io.EOF {
		b.disconnect()
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

func TestUploadResumesAfterClientDisconnects(t *testing.T) {
	b, media := open(t)
	file := randomBytes(3 << 20)
	url := create(t, b, "Upload-Length", strconv.Itoa(len(file)))
	for at := 0; at < len(file); {
		end := min(len(file), at+(1<<19)+rand.IntN(1<<20))
		if end == len(file) {
			// Bytes in flight from the previous request can still arrive and move the offset.
			p := send(b, http.MethodPatch, url, bytes.NewReader(file[at:]), "Content-Type", octets, "Upload-Offset", strconv.Itoa(at))
			if at = offset(t, b, url); p.StatusCode != http.StatusConflict {
				p.Is(http.StatusNoContent)
			}
			continue
		}
		ctx, disconnect := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodPatch, b.Address()+url, &disconnectingBody{bytes.NewReader(file[at:end]), disconnect})
		if err != nil {
			t.Fatal(err)
		}
		request.ContentLength = int64(len(file) - at)
		request.AddCookie(b.SessionCookie(logictest.Session))
		for name, value := range map[string]string{"Tus-Resumable": "1.0.0", "Content-Type": octets, "Upload-Offset": strconv.Itoa(at)} {
			request.Header.Set(name, value)
		}
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode != http.StatusConflict { // bytes in flight arrived first
				t.Fatalf("got %s from a request that disconnects", response.Status)
			}
		}
		// All bytes that the client sent arrive eventually.
		previous := at
		for deadline := time.Now().Add(waitTimeout); at <= previous; time.Sleep(5 * time.Millisecond) {
			if at = offset(t, b, url); time.Now().After(deadline) {
				t.Fatalf("none of %d bytes arrived", end-previous)
			}
		}
	}
	if upload, got := media.Upload(url[1:]); !upload.Whole || !bytes.Equal(got, file) {
		t.Errorf("stored %d of %d bytes, whole: %v", len(got), len(file), upload.Whole)
	}
}

func TestCreationWithUpload(t *testing.T) {
	b, media := open(t)
	p := send(b, http.MethodPost, "/uploads", strings.NewReader("hello"), "Upload-Length", "5", "Content-Type", octets).Is(http.StatusCreated)
	if p.Header.Get("Upload-Offset") != "5" {
		t.Errorf("got headers %v", p.Header)
	}
	if upload, got := media.Upload(p.Header.Get("Location")[1:]); string(got) != "hello" || !upload.Whole {
		t.Errorf("stored %q, %v", got, upload)
	}
}

// Media types are case-insensitive and can have parameters (RFC 9110, 8.3.1).
func TestContentTypeIsParsedAsMediaType(t *testing.T) {
	b, media := open(t)
	for _, kind := range []string{octets + "; charset=utf-8", octets + ";", "Application/Offset+Octet-Stream", " " + octets + " ; a=b ; c=\"d\""} {
		p := send(b, http.MethodPost, "/uploads", strings.NewReader("hel"), "Upload-Length", "5", "Content-Type", kind).Is(http.StatusCreated)
		url := p.Header.Get("Location")
		send(b, http.MethodPatch, url, strings.NewReader("lo"), "Content-Type", kind, "Upload-Offset", "3").Is(http.StatusNoContent)
		if upload, got := media.Upload(url[1:]); string(got) != "hello" || !upload.Whole {
			t.Errorf("%q: stored %q, %v", kind, got, upload)
		}
	}
}

func TestDeferredLengthIsSentWithLastBytes(t *testing.T) {
	b, media := open(t)
	url := create(t, b, "Upload-Defer-Length", "1")
	if p := send(b, http.MethodHead, url, nil); p.Header.Get("Upload-Defer-Length") != "1" || p.Header.Get("Upload-Length") != "" {
		t.Errorf("HEAD: got headers %v", p.Header)
	}
	send(b, http.MethodPatch, url, strings.NewReader("hel"), "Content-Type", octets, "Upload-Offset", "0").Is(http.StatusNoContent)
	send(b, http.MethodPatch, url, strings.NewReader("l"), "Content-Type", octets, "Upload-Offset", "3", "Upload-Length", "5").Is(http.StatusBadRequest, "last bytes")
	send(b, http.MethodPatch, url, strings.NewReader("lo"), "Content-Type", octets, "Upload-Offset", "3", "Upload-Length", "5").Is(http.StatusNoContent)
	if upload, got := media.Upload(url[1:]); string(got) != "hello" || !upload.Whole {
		t.Errorf("stored %q, %v", got, upload)
	}
	if p := send(b, http.MethodHead, url, nil); p.Header.Get("Upload-Length") != "5" {
		t.Errorf("HEAD: got headers %v", p.Header)
	}
}

func TestDeleteUpload(t *testing.T) {
	b, media := open(t)
	url := create(t, b, "Upload-Length", "5")
	// For clients behind proxies that reject DELETE.
	send(b, http.MethodPost, url, nil, "X-HTTP-Method-Override", "DELETE").Is(http.StatusNoContent)
	if media.UploadCount() != 0 {
		t.Errorf("got %d uploads, want none", media.UploadCount())
	}
	send(b, http.MethodDelete, url, nil).Is(http.StatusNotFound)
	send(b, http.MethodHead, url, nil).Is(http.StatusNotFound)
}

func TestInvalidRequestsAreExplained(t *testing.T) {
	b, media := open(t)
	url := create(t, b, "Upload-Length", "5")
	for _, c := range []struct {
		name         string
		method, path string
		body         string
		headers      []string
		status       int
		text         string
	}{
		{"no version", "POST", "/uploads", "", []string{"Tus-Resumable", ""}, 412, "1.0.0"},
		{"unsupported version", "PATCH", url, "x", []string{"Tus-Resumable", "0.2.2"}, 412, "1.0.0"},
		{"no length", "POST", "/uploads", "", nil, 400, "Upload-Length"},
		{"both lengths", "POST", "/uploads", "", []string{"Upload-Length", "1", "Upload-Defer-Length", "1"}, 400, "not both"},
		{"a negative length", "POST", "/uploads", "", []string{"Upload-Length", "-1"}, 400, "Upload-Length"},
		{"zero length", "POST", "/uploads", "", []string{"Upload-Length", "0"}, 400, "no bytes"},
		{"too large", "POST", "/uploads", "", []string{"Upload-Length", "8589934593"}, 413, "8 GiB"},
		{"far too large", "POST", "/uploads", "", []string{"Upload-Length", "99999999999999999999"}, 413, "8 GiB"},
		{"invalid metadata", "POST", "/uploads", "", []string{"Upload-Length", "1", "Upload-Metadata", "filename !!"}, 400, "base64"},
		{"unsupported content type", "PATCH", url, "x", []string{"Upload-Offset", "0", "Content-Type", "text/plain"}, 415, octets},
		{"first bytes with unsupported content type", "POST", "/uploads", "hello", []string{"Upload-Length", "5", "Content-Type", "application/octet-stream"}, 415, octets},
		{"first bytes without content type", "POST", "/uploads", "hello", []string{"Upload-Length", "5"}, 415, octets},
		{"supported content type only in a parameter", "PATCH", url, "x", []string{"Upload-Offset", "0", "Content-Type", "text/plain; x=" + `"` + octets + `"`}, 415, octets},
		{"no offset", "PATCH", url, "x", []string{"Content-Type", octets}, 400, "Upload-Offset"},
		{"a negative offset", "PATCH", url, "x", []string{"Content-Type", octets, "Upload-Offset", "-1"}, 400, "Upload-Offset"},
		{"a wrong offset", "PATCH", url, "x", []string{"Content-Type", octets, "Upload-Offset", "3"}, 409, "HEAD"},
		{"more bytes than the length", "PATCH", url, "123456", []string{"Content-Type", octets, "Upload-Offset", "0"}, 413, "more bytes"},
		{"unknown upload", "PATCH", "/uploads/none", "x", []string{"Content-Type", octets, "Upload-Offset", "0"}, 404, "no such upload"},
		{"unsupported method", "PUT", url, "x", nil, 405, "PATCH"},
	} {
		p := send(b, c.method, c.path, strings.NewReader(c.body), c.headers...).Is(c.status, c.text)
		if p.Header.Get("Tus-Resumable") != "1.0.0" || !strings.HasPrefix(p.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: got headers %v", c.name, p.Header)
		}
		if c.status == 412 && p.Header.Get("Tus-Version") == "" {
			t.Errorf("%s: no Tus-Version in the response", c.name)
		}
	}
	if _, got := media.Upload(url[1:]); len(got) != 0 || media.UploadCount() != 1 {
		t.Errorf("stored %q in %d uploads, want nothing in 1", got, media.UploadCount())
	}
}

func TestChecksumMismatchDeletesUpload(t *testing.T) {
	b, media := open(t)
	url := create(t, b, "Upload-Length", "5", "Upload-Metadata", "sha256 "+base64.StdEncoding.EncodeToString([]byte(strings.Repeat("0", 64))))
	send(b, http.MethodPatch, url, strings.NewReader("hello"), "Content-Type", octets, "Upload-Offset", "0").Is(http.StatusBadRequest, "checksum")
	send(b, http.MethodHead, url, nil).Is(http.StatusNotFound)
	if media.UploadCount() != 0 {
		t.Errorf("got %d uploads, want none", media.UploadCount())
	}
}

func TestUploadsBelongToTheirAccount(t *testing.T) {
	b, _ := open(t)
	url := create(t, b, "Upload-Length", "5")
	send(b.With(""), http.MethodHead, url, nil).Is(http.StatusUnauthorized)
	send(b.With(""), http.MethodPost, "/uploads", nil, "Upload-Length", "5").Is(http.StatusUnauthorized, "Sign in")
	logictest.AddSessions(b.Logic, "session-of-grace")
	grace := b.With("session-of-grace")
	for _, method := range []string{http.MethodHead, http.MethodPatch, http.MethodDelete} {
		send(grace, method, url, strings.NewReader(""), "Content-Type", octets, "Upload-Offset", "0").Is(http.StatusNotFound)
	}
}

func TestQuotaErrorIsPassedOn(t *testing.T) {
	b, media := open(t)
	url := create(t, b, "Upload-Length", "5")
	media.FailAppends(logictest.RefusalRetry(codes.ResourceExhausted, "QUOTA_EXCEEDED", "storage quota of 10 GiB exceeded; delete something", time.Minute))
	p := send(b, http.MethodPatch, url, strings.NewReader("hello"), "Content-Type", octets, "Upload-Offset", "0").Is(http.StatusTooManyRequests, "10 GiB")
	if p.Header.Get("Retry-After") != "60" {
		t.Errorf("got Retry-After %q, want 60", p.Header.Get("Retry-After"))
	}
}

// stall starts an upload, sends its first byte and then nothing. If the server rejects the upload,
// stall sends the status and Retry-After to rejected.
func stall(ctx context.Context, t *testing.T, b *pagetest.Browser, session string, rejected chan<- string) {
	t.Helper()
	url := create(t, b.With(session), "Upload-Length", strconv.Itoa(1<<20))
	body, writer := io.Pipe()
	request, _ := http.NewRequestWithContext(ctx, http.MethodPatch, b.Address()+url, body)
	request.ContentLength = 1 << 20
	request.AddCookie(b.SessionCookie(session))
	for name, value := range map[string]string{"Tus-Resumable": "1.0.0", "Content-Type": octets, "Upload-Offset": "0"} {
		request.Header.Set(name, value)
	}
	sent := make(chan struct{})
	go func() {
		_, _ = writer.Write([]byte("h"))
		close(sent)
	}()
	go func() {
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
			select {
			case rejected <- fmt.Sprint(response.StatusCode, " after ", response.Header.Get("Retry-After")):
			default:
			}
		}
	}()
	<-sent
}

func TestUploadsAreLimitedPerSessionAndPerAddress(t *testing.T) {
	b, _ := open(t)
	sessions := make([]string, 100)
	for i := range sessions {
		sessions[i] = fmt.Sprint("session-", i)
	}
	logictest.AddSessions(b.Logic, sessions...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	exhaust := func(name string, session func(i int) string) {
		t.Helper()
		rejected := make(chan string, 1)
		for i := range 1000 {
			stall(ctx, t, b, session(i), rejected)
			select {
			case got := <-rejected:
				if got != "429 after 10" {
					t.Errorf("%s: got %s, want 429 after 10", name, got)
				}
				return
			default:
			}
		}
		t.Fatalf("%s: no limit after 1000 uploads", name)
	}
	exhaust("session", func(int) string { return logictest.Session })
	upload := func(session string) *pagetest.Page {
		return send(b.With(session), http.MethodPost, "/uploads", strings.NewReader("hello"), "Upload-Length", "5", "Content-Type", octets)
	}
	upload(logictest.Session).Is(http.StatusTooManyRequests, "from your browser or network")
	upload(sessions[0]).Is(http.StatusCreated)
	exhaust("address", func(i int) string { return sessions[i%len(sessions)] })
	upload(sessions[len(sessions)-1]).Is(http.StatusTooManyRequests)
}

// The response does not wait for the rest of the body.
func TestNewerRequestSupersedesAppend(t *testing.T) {
	b, media := open(t)
	url := create(t, b, "Upload-Length", "10")
	media.FailAppends(logictest.Refusal(codes.Aborted, "UPLOAD_SUPERSEDED", "a newer request is appending to the upload"))
	body, writer := io.Pipe()
	defer writer.Close()
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPatch, b.Address()+url, body)
	request.ContentLength = 10
	request.AddCookie(b.SessionCookie(logictest.Session))
	for name, value := range map[string]string{"Tus-Resumable": "1.0.0", "Content-Type": octets, "Upload-Offset": "0"} {
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusLocked || !strings.Contains(string(text), "HEAD") {
		t.Errorf("got %s, %s; want 423 that mentions HEAD", response.Status, text)
	}
}

// The client announces ten bytes with an unsupported content type, but sends none.
func TestRejectionDoesNotWaitForBody(t *testing.T) {
	b, _ := open(t)
	url := create(t, b, "Upload-Length", "10")
	body, writer := io.Pipe()
	defer writer.Close()
	request, _ := http.NewRequestWithContext(t.Context(), http.MethodPatch, b.Address()+url, body)
	request.ContentLength = 10
	request.AddCookie(b.SessionCookie(logictest.Session))
	request.Header.Set("Tus-Resumable", "1.0.0")
	request.Header.Set("Content-Type", "text/plain")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("got %s, want 415", response.Status)
	}
}
