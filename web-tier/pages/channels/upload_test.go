package channels_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/chromedp/chromedp"
	"google.golang.org/grpc/codes"

	followingpb "techtalks.example/proto/techtalks/following/v1"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/channels"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
)

// faultyNetwork sits between the browser and the site. It cuts the connection in the
// middle of an upload, or stalls an upload.
type faultyNetwork struct {
	cut   func()
	cuts  atomic.Int32                  // the number of uploads still to be cut
	stall atomic.Pointer[chan struct{}] // stalls uploads until closed; nil for none
}

// faultOffset is the number of bytes of an upload that pass before a fault.
const faultOffset = 1 << 20

func (n *faultyNetwork) wrap(site http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPatch {
			request.Body = &faultyBody{ReadCloser: request.Body, network: n}
		}
		site.ServeHTTP(w, request)
	})
}

type faultyBody struct {
	io.ReadCloser
	network *faultyNetwork
	passed  int
}

func (b *faultyBody) Read(p []byte) (int, error) {
	if b.passed >= faultOffset {
		if stall := b.network.stall.Load(); stall != nil {
			<-*stall
			return 0, io.ErrUnexpectedEOF // the rest of the body is lost
		}
		if b.network.cuts.Add(-1) >= 0 {
			b.network.cut()
		}
	}
	n, err := b.ReadCloser.Read(p)
	b.passed += n
	return n, err
}

// openOverFaultyNetwork opens the pages of a channel on which the account can publish.
func openOverFaultyNetwork(t *testing.T) (*pagetest.Browser, *logictest.Media, *faultyNetwork) {
	t.Helper()
	network := &faultyNetwork{}
	b := pagetest.OpenWithMiddleware(t, false, map[string]ui.Handler{
		"GET /channels/{channel}": channels.Show, "POST /channels/{channel}/talks": channels.Publish,
		"GET /operations/{operation}": func(v *ui.PageContext) error {
			_, err := io.WriteString(v.Writer, "running")
			return err
		},
	}, network.wrap)
	network.cut = b.Cut
	logictest.Answer(b.Logic, talkspb.Talks_ListTalks_FullMethodName, func(context.Context, *talkspb.ListTalksRequest) (*talkspb.ListTalksResponse, error) {
		return &talkspb.ListTalksResponse{Channel: &talkspb.Channel{Name: "channels/go", Title: "Go nights", CanPublish: true}}, nil
	})
	logictest.Answer(b.Logic, followingpb.Following_GetFollow_FullMethodName, func(context.Context, *followingpb.GetFollowRequest) (*followingpb.GetFollowResponse, error) {
		return &followingpb.GetFollowResponse{}, nil
	})
	logictest.Answer(b.Logic, talkspb.Talks_PublishRecording_FullMethodName, func(context.Context, *talkspb.PublishRecordingRequest) (*longrunningpb.Operation, error) {
		return &longrunningpb.Operation{Name: "operations/abc"}, nil
	})
	return b.With(logictest.Session), logictest.ServeMedia(b.Logic), network
}

// video writes an 8 MiB file that begins like an mp4.
func video(t *testing.T) (path string, content []byte) {
	t.Helper()
	content = bytes.Repeat([]byte("a frame of looms"), 512<<10)
	copy(content, "\x00\x00\x00\x18ftypisom")
	path = filepath.Join(t.TempDir(), "looms.mp4")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

// state is the JavaScript expression of the upload's state as shown.
const state = `document.querySelector("[data-state]").textContent`

// The form was submitted during the upload; the page sends it once the file is stored.
func TestUploadResumesAfterConnectionLoss(t *testing.T) {
	b, stored, network := openOverFaultyNetwork(t)
	network.cuts.Store(1)
	file, content := video(t)
	tab := b.Tab()
	tab.Open("/channels/go")
	tab.Fill("#title", "On looms")
	tab.Choose("#file", file)
	tab.Click(".publish button[type=submit]")
	until(t, "the publication", func() bool { return published(b) != nil })
	sent := published(b)
	if upload, got := stored.Upload(sent.Upload); !bytes.Equal(got, content) || !upload.Whole || upload.FileName != "looms.mp4" || upload.ContentType != "video/mp4" {
		t.Errorf("got %d of %d bytes stored as %v", len(got), len(content), upload)
	}
	if sent.Talk.Title != "On looms" || network.cuts.Load() >= 0 || stored.UploadCount() != 1 {
		t.Errorf("got request %v with %d uploads, connection cut: %v", sent, stored.UploadCount(), network.cuts.Load() < 0)
	}
}

// Reopened, the page shows the interrupted upload. Choosing the same file resumes it,
// and a complete upload needs no file.
func TestUploadResumesAfterPageIsClosed(t *testing.T) {
	b, stored, network := openOverFaultyNetwork(t)
	stall := make(chan struct{})
	network.stall.Store(&stall)
	file, content := video(t)
	tab := b.Tab()
	tab.Open("/channels/go")
	tab.Choose("#file", file)
	until(t, "the first bytes", func() bool {
		upload, _ := stored.Upload("uploads/upload1")
		return upload.GetOffset() > 0
	})
	tab.Until(state + ` === "uploading"`)
	tab.Screenshot("upload-running")
	tab.NavigateAway()
	network.stall.Store(nil)
	close(stall)
	tab.Open("/channels/go")
	tab.Until(state + `.startsWith("interrupted")`)
	tab.Screenshot("upload-interrupted")
	// Submitting now would publish the talk without its recording.
	tab.Fill("#title", "On looms")
	tab.Click(".publish button[type=submit]")
	tab.Until(`document.querySelector("[data-wrong]").textContent.includes("Choose the same file")`)
	tab.Choose("#file", file)
	tab.Until(state + ` === "uploaded"`)
	tab.Screenshot("upload-complete")
	if upload, got := stored.Upload("uploads/upload1"); !bytes.Equal(got, content) || !upload.Whole || stored.UploadCount() != 1 {
		t.Errorf("got %d of %d bytes stored", len(got), len(content))
	}
	tab.Open("/channels/go")
	tab.Until(state + ` === "uploaded"`)
	tab.Fill("#title", "On looms")
	tab.Click(".publish button[type=submit]")
	until(t, "the publication", func() bool { return published(b) != nil })
	if got := published(b).Upload; got != "uploads/upload1" {
		t.Errorf("got publication with upload %q, want uploads/upload1", got)
	}
	// The upload is used, so the page no longer offers it.
	tab.Until(`location.pathname === "/operations/abc"`)
	tab.Open("/channels/go")
	tab.Until(`document.querySelector(".drop.ready") && localStorage.length === 0`)
}

func TestUploadIsRemovedWhenCancelled(t *testing.T) {
	b, stored, network := openOverFaultyNetwork(t)
	stall := make(chan struct{})
	defer close(stall)
	network.stall.Store(&stall)
	file, _ := video(t)
	tab := b.Tab()
	tab.Open("/channels/go")
	tab.Choose("#file", file)
	until(t, "the upload to begin", func() bool { return stored.UploadCount() == 1 })
	tab.Until(state + ` === "uploading"`)
	tab.Click("[data-cancel]")
	until(t, "the upload to be removed", func() bool { return stored.UploadCount() == 0 })
	tab.Until(`document.querySelector("[data-sending]").hidden && localStorage.length === 0`)
}

func TestUploadShowsWhyEmptyFileIsRejected(t *testing.T) {
	b, _, _ := openOverFaultyNetwork(t)
	empty := filepath.Join(t.TempDir(), "empty.mp4")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tab := b.Tab()
	tab.Open("/channels/go")
	tab.Choose("#file", empty)
	tab.Until(`document.querySelector("[data-wrong]").textContent.includes("no bytes")`)
	tab.Screenshot("upload-rejected")
}

func TestUploadRejectsOtherFileTypesBeforeSending(t *testing.T) {
	b, _, _ := openOverFaultyNetwork(t)
	tab := b.Tab()
	tab.Open("/channels/go")
	for _, c := range []struct{ name, content, want string }{
		{"notes.pdf", "%PDF-1.7", "A file named .pdf can't be used here. Choose a .mp4 or .webm file."},
		{"notes.mp4", "%PDF-1.7", "are not those of a .mp4 or .webm file"},
		{"looms.webm", "PK\x03\x04", "are not those of a .mp4 or .webm file"},
	} {
		file := filepath.Join(t.TempDir(), c.name)
		if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		tab.Choose("#file", file)
		tab.Until(`document.querySelector("[data-name]").textContent === ` + strconv.Quote(c.name) +
			` && document.querySelector("[data-wrong]").textContent.includes(` + strconv.Quote(c.want) + `)`)
	}
	tab.Screenshot("upload-wrong-file")
	if calls := b.Logic.Calls(mediapb.Media_CreateUpload_FullMethodName); len(calls) > 0 {
		t.Errorf("got %d CreateUpload calls, want none", len(calls))
	}
	good, _ := video(t)
	tab.Choose("#file", good)
	tab.Until(`document.querySelector("input[name=upload]").value !== "" && document.querySelector("[data-wrong]").hidden`)
}

func TestShowFillsFormFromDraftOfFailedPublication(t *testing.T) {
	b, _, _ := openOverFaultyNetwork(t)
	logictest.Answer(b.Logic, talkspb.Talks_GetDraft_FullMethodName, func(_ context.Context, q *talkspb.GetDraftRequest) (*talkspb.GetDraftResponse, error) {
		if q.Operation != "operations/abc" {
			return nil, logictest.Refusal(codes.NotFound, "DRAFT_NOT_FOUND", "this draft has expired; publish the talk again")
		}
		return &talkspb.GetDraftResponse{Parent: "channels/go", Upload: "uploads/u", Talk: &talkspb.Talk{
			Title: "On looms", Speakers: []string{"Ada", "Grace"}, Language: "eng", Tags: []string{"history"}, Description: "*Threads*",
		}}, nil
	})
	b.Get("/channels/go?draft=abc").Is(200, " open", `value="On looms"`, `value="Ada, Grace"`, `value="eng"`, `value="history"`, "*Threads*",
		`name="upload" value="uploads/u"`)
	b.Get("/channels/go?draft=gone").Is(200, "This draft has expired; publish the talk again.")
	b.With("").Get("/channels/go?draft=abc").Is(200).Lacks("On looms")
	tab := b.Tab()
	tab.Open("/channels/go?draft=abc")
	tab.Until(`!document.querySelector("[data-kept]").hidden && document.querySelector("input[name=upload]").value === "uploads/u"`)
	tab.Screenshot("draft")
}

// Without JavaScript the browser sends the file in the form.
func TestUploadWorksWithoutJavaScript(t *testing.T) {
	b, stored, _ := openOverFaultyNetwork(t)
	file, content := video(t)
	tab := b.Tab().WithoutScripts()
	tab.Open("/channels/go")
	tab.Screenshot("upload-without-javascript")
	tab.Fill("#title", "On looms")
	tab.Choose("#file", file)
	tab.Do(chromedp.Click(chromedp.CSS(".publish button[type=submit]")))
	until(t, "the publication", func() bool { return published(b) != nil })
	if _, got := stored.Upload(published(b).Upload); !bytes.Equal(got, content) || published(b).Talk.Title != "On looms" {
		t.Errorf("got %d of %d bytes stored for %v", len(got), len(content), published(b))
	}
}
