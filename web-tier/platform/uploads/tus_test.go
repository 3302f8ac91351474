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

// octets is how a piece of a file is sent.
const octets = "application/offset+octet-stream"

// patience bounds every wait.
const patience = 3 * time.Minute

func open(t *testing.T) (*pagetest.Browser, *logictest.Media) {
	t.Helper()
	b := pagetest.Open(t, false, nil)
	return b.With(logictest.Session), logictest.ServeMedia(b.Logic)
}

func noise(n int) []byte {
	some := make([]byte, n)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range some {
		some[i] = byte(random.Uint32())
	}
	return some
}

func send(b *pagetest.Browser, method, path string, body io.Reader, headers ...string) *pagetest.Page {
	return b.Send(method, path, body, append([]string{"Tus-Resumable", "1.0.0"}, headers...)...)
}

// create begins an upload and returns its address.
func create(t *testing.T, b *pagetest.Browser, headers ...string) string {
	t.Helper()
	p := send(b, http.MethodPost, "/uploads", nil, headers...).Is(http.StatusCreated)
	if !strings.HasPrefix(p.Header.Get("Location"), "/uploads/") || p.Header.Get("Upload-Expires") == "" {
		t.Fatalf("created with %v", p.Header)
	}
	return p.Header.Get("Location")
}

func offset(t *testing.T, b *pagetest.Browser, url string) int {
	t.Helper()
	p := send(b, http.MethodHead, url, nil).Is(http.StatusOK)
	n, err := strconv.Atoi(p.Header.Get("Upload-Offset"))
	if err != nil || p.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("HEAD answers %v", p.Header)
	}
	return n
}

func TestWhatItCanDoIsSaidToAnybody(t *testing.T) {
	b, _ := open(t)
	p := b.With("").Send(http.MethodOptions, "/uploads", nil).Is(http.StatusNoContent)
	for name, want := range map[string]string{
		"Tus-Version": "1.0.0", "Tus-Resumable": "1.0.0", "Tus-Max-Size": "8589934592",
		"Tus-Extension": "creation,creation-with-upload,creation-defer-length,termination,expiration",
	} {
		if got := p.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// A file comes in pieces that end anywhere, each from where HEAD says.
func TestAFileComesInPieces(t *testing.T) {
	b, kept := open(t)
	file := noise(700_001)
	sum := sha256.Sum256(file)
	metadata := func(key, value string) string { return key + " " + base64.StdEncoding.EncodeToString([]byte(value)) }
	url := create(t, b, "Upload-Length", strconv.Itoa(len(file)), "Upload-Metadata", strings.Join([]string{
		metadata("filename", `C:\videos\Über <looms>.mp4`), metadata("filetype", "video/mp4; codecs=avc1"), metadata("sha256", hex.EncodeToString(sum[:])), "unknown",
	}, ","))
	for at := offset(t, b, url); at < len(file); at = offset(t, b, url) {
		end := min(len(file), at+1+rand.IntN(len(file)/4))
		p := send(b, http.MethodPatch, url, bytes.NewReader(file[at:end]), "Content-Type", octets, "Upload-Offset", strconv.Itoa(at)).Is(http.StatusNoContent)
		if p.Header.Get("Upload-Offset") != strconv.Itoa(end) {
			t.Fatalf("after byte %d: %v", end, p.Header)
		}
	}
	upload, got := kept.Upload(url[1:])
	if !bytes.Equal(got, file) || !upload.Whole || upload.FileName != "Über <looms>.mp4" || upload.ContentType != "video/mp4" {
		t.Errorf("%d bytes of %v", len(got), upload)
	}
	p := send(b, http.MethodHead, url, nil)
	if p.Header.Get("Upload-Length") != strconv.Itoa(len(file)) || !strings.Contains(p.Header.Get("Upload-Metadata"), metadata("filetype", "video/mp4")) {
		t.Errorf("HEAD answers %v", p.Header)
	}
}

// vanishing is a body whose sender is gone in the middle.
type vanishing struct {
	rest io.Reader
	gone context.CancelFunc
}

func (v *vanishing) Read(into []byte) (int, error) {
	n, err := v.rest.Read(into)
	if err == io.EOF {
		v.gone()
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// What arrived before the client vanished stays, and the rest is sent after it.
func TestAClientThatVanishesGoesOn(t *testing.T) {
	b, kept := open(t)
	file := noise(3 << 20)
	url := create(t, b, "Upload-Length", strconv.Itoa(len(file)))
	for at := 0; at < len(file); {
		end := min(len(file), at+(1<<19)+rand.IntN(1<<20))
		if end == len(file) {
			// What was on its way may still arrive; then the upload ends elsewhere.
			p := send(b, http.MethodPatch, url, bytes.NewReader(file[at:]), "Content-Type", octets, "Upload-Offset", strconv.Itoa(at))
			if at = offset(t, b, url); p.StatusCode != http.StatusConflict {
				p.Is(http.StatusNoContent)
			}
			continue
		}
		ctx, gone := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodPatch, b.Address()+url, &vanishing{bytes.NewReader(file[at:end]), gone})
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
			if response.StatusCode != http.StatusConflict { // what was on its way arrived first
				t.Fatalf("it did not vanish: %s", response.Status)
			}
		}
		// All that left the client arrives, sooner or later.
		was := at
		for deadline := time.Now().Add(patience); at <= was; time.Sleep(5 * time.Millisecond) {
			if at = offset(t, b, url); time.Now().After(deadline) {
				t.Fatalf("nothing of %d bytes arrived", end-was)
			}
		}
	}
	if upload, got := kept.Upload(url[1:]); !upload.Whole || !bytes.Equal(got, file) {
		t.Errorf("%d of %d bytes, whole: %v", len(got), len(file), upload.Whole)
	}
}

func TestTheFirstPieceMayComeAtOnce(t *testing.T) {
	b, kept := open(t)
	p := send(b, http.MethodPost, "/uploads", strings.NewReader("hello"), "Upload-Length", "5", "Content-Type", octets).Is(http.StatusCreated)
	if p.Header.Get("Upload-Offset") != "5" {
		t.Errorf("answered %v", p.Header)
	}
	if upload, got := kept.Upload(p.Header.Get("Location")[1:]); string(got) != "hello" || !upload.Whole {
		t.Errorf("kept %q, %v", got, upload)
	}
}

// The media type of a piece is case-insensitive and can have parameters.
func TestPiecesAreTakenInEverySpellingOfTheirType(t *testing.T) {
	b, kept := open(t)
	for _, kind := range []string{octets + "; charset=utf-8", octets + ";", "Application/Offset+Octet-Stream", " " + octets + " ; a=b ; c=\"d\""} {
		p := send(b, http.MethodPost, "/uploads", strings.NewReader("hel"), "Upload-Length", "5", "Content-Type", kind).Is(http.StatusCreated)
		url := p.Header.Get("Location")
		send(b, http.MethodPatch, url, strings.NewReader("lo"), "Content-Type", kind, "Upload-Offset", "3").Is(http.StatusNoContent)
		if upload, got := kept.Upload(url[1:]); string(got) != "hello" || !upload.Whole {
			t.Errorf("%q: kept %q, %v", kind, got, upload)
		}
	}
}

func TestALengthMayBeSaidWithTheLastBytes(t *testing.T) {
	b, kept := open(t)
	url := create(t, b, "Upload-Defer-Length", "1")
	if p := send(b, http.MethodHead, url, nil); p.Header.Get("Upload-Defer-Length") != "1" || p.Header.Get("Upload-Length") != "" {
		t.Errorf("HEAD answers %v", p.Header)
	}
	send(b, http.MethodPatch, url, strings.NewReader("hel"), "Content-Type", octets, "Upload-Offset", "0").Is(http.StatusNoContent)
	send(b, http.MethodPatch, url, strings.NewReader("l"), "Content-Type", octets, "Upload-Offset", "3", "Upload-Length", "5").Is(http.StatusBadRequest, "last bytes")
	send(b, http.MethodPatch, url, strings.NewReader("lo"), "Content-Type", octets, "Upload-Offset", "3", "Upload-Length", "5").Is(http.StatusNoContent)
	if upload, got := kept.Upload(url[1:]); string(got) != "hello" || !upload.Whole {
		t.Errorf("kept %q, %v", got, upload)
	}
	if p := send(b, http.MethodHead, url, nil); p.Header.Get("Upload-Length") != "5" {
		t.Errorf("HEAD answers %v", p.Header)
	}
}

func TestAnUploadMayBeTakenBack(t *testing.T) {
	b, kept := open(t)
	url := create(t, b, "Upload-Length", "5")
	// For clients whose surroundings know no DELETE.
	send(b, http.MethodPost, url, nil, "X-HTTP-Method-Override", "DELETE").Is(http.StatusNoContent)
	if kept.UploadCount() != 0 {
		t.Error("it is still there")
	}
	send(b, http.MethodDelete, url, nil).Is(http.StatusNotFound)
	send(b, http.MethodHead, url, nil).Is(http.StatusNotFound)
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	b, kept := open(t)
	url := create(t, b, "Upload-Length", "5")
	for _, c := range []struct {
		what         string
		method, path string
		body         string
		headers      []string
		status       int
		says         string
	}{
		{"no version", "POST", "/uploads", "", []string{"Tus-Resumable", ""}, 412, "1.0.0"},
		{"another version", "PATCH", url, "x", []string{"Tus-Resumable", "0.2.2"}, 412, "1.0.0"},
		{"no length", "POST", "/uploads", "", nil, 400, "Upload-Length"},
		{"both lengths", "POST", "/uploads", "", []string{"Upload-Length", "1", "Upload-Defer-Length", "1"}, 400, "not both"},
		{"a negative length", "POST", "/uploads", "", []string{"Upload-Length", "-1"}, 400, "Upload-Length"},
		{"no bytes", "POST", "/uploads", "", []string{"Upload-Length", "0"}, 400, "no bytes"},
		{"too large", "POST", "/uploads", "", []string{"Upload-Length", "8589934593"}, 413, "8 GiB"},
		{"far too large", "POST", "/uploads", "", []string{"Upload-Length", "99999999999999999999"}, 413, "8 GiB"},
		{"metadata that is none", "POST", "/uploads", "", []string{"Upload-Length", "1", "Upload-Metadata", "filename !!"}, 400, "base64"},
		{"another type", "PATCH", url, "x", []string{"Upload-Offset", "0", "Content-Type", "text/plain"}, 415, octets},
		{"a first piece of another type", "POST", "/uploads", "hello", []string{"Upload-Length", "5", "Content-Type", "application/octet-stream"}, 415, octets},
		{"a first piece without a type", "POST", "/uploads", "hello", []string{"Upload-Length", "5"}, 415, octets},
		{"a type with this one's name in a parameter", "PATCH", url, "x", []string{"Upload-Offset", "0", "Content-Type", "text/plain; x=" + `"` + octets + `"`}, 415, octets},
		{"no offset", "PATCH", url, "x", []string{"Content-Type", octets}, 400, "Upload-Offset"},
		{"a negative offset", "PATCH", url, "x", []string{"Content-Type", octets, "Upload-Offset", "-1"}, 400, "Upload-Offset"},
		{"a wrong offset", "PATCH", url, "x", []string{"Content-Type", octets, "Upload-Offset", "3"}, 409, "HEAD"},
		{"more than it may have", "PATCH", url, "123456", []string{"Content-Type", octets, "Upload-Offset", "0"}, 413, "more bytes"},
		{"one that is not there", "PATCH", "/uploads/none", "x", []string{"Content-Type", octets, "Upload-Offset", "0"}, 404, "no such upload"},
		{"another method", "PUT", url, "x", nil, 405, "PATCH"},
	} {
		p := send(b, c.method, c.path, strings.NewReader(c.body), c.headers...).Is(c.status, c.says)
		if p.Header.Get("Tus-Resumable") != "1.0.0" || !strings.HasPrefix(p.Header.Get("Content-Type"), "text/plain") {
			t.Errorf("%s: answered %v", c.what, p.Header)
		}
		if c.status == 412 && p.Header.Get("Tus-Version") == "" {
			t.Errorf("%s: it is not said which version", c.what)
		}
	}
	if _, got := kept.Upload(url[1:]); len(got) != 0 || kept.UploadCount() != 1 {
		t.Errorf("%q was kept, in %d uploads", got, kept.UploadCount())
	}
}

func TestAWrongChecksumLeavesNothing(t *testing.T) {
	b, kept := open(t)
	url := create(t, b, "Upload-Length", "5", "Upload-Metadata", "sha256 "+base64.StdEncoding.EncodeToString([]byte(strings.Repeat("0", 64))))
	send(b, http.MethodPatch, url, strings.NewReader("hello"), "Content-Type", octets, "Upload-Offset", "0").Is(http.StatusBadRequest, "checksum")
	send(b, http.MethodHead, url, nil).Is(http.StatusNotFound)
	if kept.UploadCount() != 0 {
		t.Error("it is still there")
	}
}

func TestAnUploadIsSomebodys(t *testing.T) {
	b, _ := open(t)
	url := create(t, b, "Upload-Length", "5")
	send(b.With(""), http.MethodHead, url, nil).Is(http.StatusUnauthorized)
	send(b.With(""), http.MethodPost, "/uploads", nil, "Upload-Length", "5").Is(http.StatusUnauthorized, "Sign in")
	logictest.AddSessions(b.Logic, "session-of-grace")
	other := b.With("session-of-grace")
	for _, method := range []string{http.MethodHead, http.MethodPatch, http.MethodDelete} {
		send(other, method, url, strings.NewReader(""), "Content-Type", octets, "Upload-Offset", "0").Is(http.StatusNotFound)
	}
}

func TestALimitOfTheAccountIsSaid(t *testing.T) {
	b, kept := open(t)
	url := create(t, b, "Upload-Length", "5")
	kept.FailAppends(logictest.RefusalRetry(codes.ResourceExhausted, "QUOTA_EXCEEDED", "the account keeps 10 GiB already; delete something", time.Minute))
	p := send(b, http.MethodPatch, url, strings.NewReader("hello"), "Content-Type", octets, "Upload-Offset", "0").Is(http.StatusTooManyRequests, "10 GiB")
	if p.Header.Get("Retry-After") != "60" {
		t.Errorf("Retry-After %q", p.Header.Get("Retry-After"))
	}
}

// begin sends the first byte of a new upload of the session, and then nothing. The answer
// comes when the upload is refused.
func begin(ctx context.Context, t *testing.T, b *pagetest.Browser, session string, refused chan<- string) {
	t.Helper()
	url := create(t, b.With(session), "Upload-Length", strconv.Itoa(1<<20))
	body, writer := io.Pipe()
	request, _ := http.NewRequestWithContext(ctx, http.MethodPatch, b.Address()+url, body)
	request.ContentLength = 1 << 20
	request.AddCookie(b.SessionCookie(session))
	for name, value := range map[string]string{"Tus-Resumable": "1.0.0", "Content-Type": octets, "Upload-Offset": "0"} {
		request.Header.Set(name, value)
	}
	taken := make(chan struct{})
	go func() {
		_, _ = writer.Write([]byte("h"))
		close(taken)
	}()
	go func() {
		if response, err := http.DefaultClient.Do(request); err == nil {
			_ = response.Body.Close()
			select {
			case refused <- fmt.Sprint(response.StatusCode, " after ", response.Header.Get("Retry-After")):
			default:
			}
		}
	}()
	<-taken
}

// One session, and one address with many sessions, leave the others room.
func TestUploadsAreBoundedForEachSessionAndAddress(t *testing.T) {
	b, _ := open(t)
	sessions := make([]string, 100)
	for i := range sessions {
		sessions[i] = fmt.Sprint("session-", i)
	}
	logictest.AddSessions(b.Logic, sessions...)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	until := func(who string, session func(begun int) string) {
		t.Helper()
		refused := make(chan string, 1)
		for begun := range 1000 {
			begin(ctx, t, b, session(begun), refused)
			select {
			case got := <-refused:
				if got != "429 after 10" {
					t.Errorf("%s is refused with %s", who, got)
				}
				return
			default:
			}
		}
		t.Fatalf("%s has no bound", who)
	}
	until("a session", func(int) string { return logictest.Session })
	small := func(session string) *pagetest.Page {
		return send(b.With(session), http.MethodPost, "/uploads", strings.NewReader("hello"), "Upload-Length", "5", "Content-Type", octets)
	}
	small(logictest.Session).Is(http.StatusTooManyRequests, "more files at the same time than its share")
	small(sessions[0]).Is(http.StatusCreated)
	until("an address", func(begun int) string { return sessions[begun%len(sessions)] })
	small(sessions[len(sessions)-1]).Is(http.StatusTooManyRequests)
}

// A request is answered as soon as another one appends to the upload, though its client
// still sends.
func TestOneRequestAppendsToAnUpload(t *testing.T) {
	b, kept := open(t)
	url := create(t, b, "Upload-Length", "10")
	kept.FailAppends(logictest.Refusal(codes.Aborted, "UPLOAD_SUPERSEDED", "a newer request appends to the upload"))
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
		t.Errorf("answered %s, %s", response.Status, text)
	}
}

// The client announces ten bytes of a type that is refused, and sends none of them.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
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
		t.Errorf("answered %s", response.Status)
	}
}
