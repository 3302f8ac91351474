package downloads_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/platform/logictest"
)

const path = "/recordings/one/original"

// open serves a recording of size random bytes at path.
func open(t *testing.T, size int) (b *pagetest.Browser, media *logictest.Media, content []byte, file *mediapb.File) {
	t.Helper()
	b = pagetest.Open(t, false, nil)
	media = logictest.ServeMedia(b.Logic)
	content = make([]byte, size)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	return b, media, content, media.Add(path[1:], "video/mp4", "talk.mp4", content)
}

func TestRecordingIsPublicAndImmutable(t *testing.T) {
	b, _, content, file := open(t, 1_000_000)
	p := b.Get(path).Is(http.StatusOK)
	if p.Text != string(content) {
		t.Error("got different bytes")
	}
	for name, want := range map[string]string{
		"Content-Type": "video/mp4", "Content-Length": "1000000", "Accept-Ranges": "bytes", "ETag": `"` + file.Sha256 + `"`,
		"Last-Modified": logictest.UpdateTime.Format(http.TimeFormat), "Cache-Control": "public, max-age=31536000, immutable",
		"Content-Security-Policy": "default-src 'none'; sandbox", "X-Content-Type-Options": "nosniff", "Content-Disposition": "",
	} {
		if got := p.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if p := b.Send(http.MethodHead, path, nil).Is(http.StatusOK); p.Header.Get("Content-Length") != "1000000" {
		t.Errorf("HEAD: got headers %v", p.Header)
	}
	b.Send(http.MethodGet, path, nil, "If-None-Match", `"`+file.Sha256+`"`).Is(http.StatusNotModified)
	b.Get("/recordings/one/none").Is(http.StatusNotFound, "no such file")
}

func TestRanges(t *testing.T) {
	b, media, content, file := open(t, 1_000_000)
	tag := `"` + file.Sha256 + `"`
	for _, c := range []struct {
		ranges, ifRange string
		status          int
		start, end      int // of the body
	}{
		{"bytes=0-99", "", 206, 0, 100},
		{"bytes=300000-700000", "", 206, 300_000, 700_001},
		{"bytes=999999-", "", 206, 999_999, 1_000_000},
		{"bytes=-5", "", 206, 999_995, 1_000_000},
		{"bytes=0-99999999", "", 206, 0, 1_000_000},
		{"bytes=5-9", tag, 206, 5, 10},
		{"bytes=5-9", logictest.UpdateTime.Format(http.TimeFormat), 206, 5, 10},
		{"bytes=5-9", `"another"`, 200, 0, 1_000_000},
		{"bytes=5-9", logictest.UpdateTime.Add(-time.Hour).Format(http.TimeFormat), 200, 0, 1_000_000},
		{"bytes=" + strings.Repeat("2-2,", 20) + "4-4", "", 200, 0, 1_000_000},
		{"pieces=0-1", "", 200, 0, 1_000_000},
	} {
		p := b.Send(http.MethodGet, path, nil, "Range", c.ranges, "If-Range", c.ifRange)
		if p.StatusCode != c.status || p.Text != string(content[c.start:c.end]) {
			t.Errorf("Range %s, If-Range %s: got status %d with %d bytes, want %d with %d", c.ranges, c.ifRange, p.StatusCode, len(p.Text), c.status, c.end-c.start)
		}
	}
	for _, ranges := range []string{"bytes=1000000-", "bytes=9-5", "bytes=x"} {
		p := b.Send(http.MethodGet, path, nil, "Range", ranges).Is(http.StatusRequestedRangeNotSatisfiable)
		if ranges == "bytes=1000000-" && p.Header.Get("Content-Range") != "bytes */1000000" || p.Header.Get("Cache-Control") != "" {
			t.Errorf("Range %s: got headers %v", ranges, p.Header)
		}
	}
	reads := media.Reads()
	if reads[1].Offset != 300_000 {
		t.Errorf("reading from the middle started at byte %d, want 300000", reads[1].Offset)
	}
}

func TestSeveralRangesReturnMultipart(t *testing.T) {
	b, _, content, _ := open(t, 1_000_000)
	p := b.Send(http.MethodGet, path, nil, "Range", "bytes=0-9,500000-500009").Is(http.StatusPartialContent)
	_, parameters, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
	parts := multipart.NewReader(strings.NewReader(p.Text), parameters["boundary"])
	for _, want := range [][]byte{content[:10], content[500_000:500_010]} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := io.ReadAll(part); !bytes.Equal(got, want) {
			t.Errorf("%s: got different bytes", part.Header.Get("Content-Range"))
		}
	}
}

func TestDownloadSurvivesLogicTierRestart(t *testing.T) {
	b, media, content, _ := open(t, 1_000_000)
	media.BreakReads(3)
	if p := b.Get(path).Is(http.StatusOK); p.Text != string(content) {
		t.Error("got different bytes")
	}
	if reads := media.Reads(); len(reads) != 4 || reads[3].Offset != 3000 {
		t.Errorf("got reads %v, want 4 that resume where the previous one broke", reads)
	}
}

func TestTruncatedFileBreaksResponse(t *testing.T) {
	b, _, _, file := open(t, 1_000_000)
	file.Size += 10
	response, err := http.Get(b.Address() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("got %d bytes without an error", len(got))
	}
}

func TestDisconnectingBrowserClosesStream(t *testing.T) {
	b, _, _, file := open(t, 1000)
	file.Size = 1 << 40
	closed := make(chan struct{})
	b.Logic.Stream(mediapb.Media_ReadFile_FullMethodName, func(stream grpc.ServerStream) error {
		defer close(closed)
		if err := stream.RecvMsg(&mediapb.ReadFileRequest{}); err != nil {
			return err
		}
		chunk := make([]byte, 1000)
		for {
			if err := stream.SendMsg(&mediapb.ReadFileResponse{Data: chunk}); err != nil {
				return err
			}
		}
	})
	response, err := http.Get(b.Address() + path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, response.Body, 100_000); err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Error("the stream is still open")
	}
}

// User content is never rendered as a page of this site.
func TestUploadIsServedAsAttachment(t *testing.T) {
	b, media, _, _ := open(t, 1)
	media.Add("uploads/archive", "application/zip", `every "talk" – Ada.zip`, []byte("zip"))
	p := b.With(logictest.Session).Get("/files/archive").Is(http.StatusOK, "zip")
	disposition, parameters, err := mime.ParseMediaType(p.Header.Get("Content-Disposition"))
	if err != nil || disposition != "attachment" || parameters["filename"] != `every "talk" – Ada.zip` {
		t.Errorf("got Content-Disposition %q", p.Header.Get("Content-Disposition"))
	}
	if p.Header.Get("Cache-Control") != "private, no-cache" || p.Header.Get("Content-Type") != "application/zip" {
		t.Errorf("got headers %v", p.Header)
	}
	media.Add("recordings/one/page", "text/html", "", []byte("<p>a page</p>"))
	if p := b.Get("/recordings/one/page").Is(http.StatusOK); p.Header.Get("Content-Disposition") != "attachment; filename=page" {
		t.Errorf("got headers %v", p.Header)
	}
	if calls := b.Logic.Calls(mediapb.Media_GetFile_FullMethodName); calls[0].Session != logictest.Session {
		t.Errorf("got session %q, want Ada's", calls[0].Session)
	}
}
