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

// road is what lies between the browser and the site: it loses the connection in
// the middle of an upload, or holds an upload up for as long as it lasts.
type road struct {
	cut   func()
	loses atomic.Int32 // as many more uploads are lost
	holds atomic.Pointer[chan struct{}]
}

// after is how much of an upload passes before something happens to it.
const after = 1 << 20

func (r *road) between(site http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodPatch {
			request.Body = &stretch{ReadCloser: request.Body, road: r}
		}
		site.ServeHTTP(w, request)
	})
}

type stretch struct {
	io.ReadCloser
	road   *road
	passed int
}

func (s *stretch) Read(into []byte) (int, error) {
	if s.passed >= after {
		if hold := s.road.holds.Load(); hold != nil {
			<-*hold
			return 0, io.ErrUnexpectedEOF // what else was on its way is lost
		}
		if s.road.loses.Add(-1) >= 0 {
			s.road.cut()
		}
	}
	n, err := s.ReadCloser.Read(into)
	s.passed += n
	return n, err
}

func onTheRoad(t *testing.T) (*pagetest.Browser, *logictest.Media, *road) {
	t.Helper()
	r := &road{}
	b := pagetest.OpenWithMiddleware(t, false, map[string]ui.Handler{
		"GET /channels/{channel}": channels.Show, "POST /channels/{channel}/talks": channels.Publish,
		"GET /operations/{operation}": func(v *ui.PageContext) error {
			_, err := io.WriteString(v.Writer, "on its way")
			return err
		},
	}, r.between)
	r.cut = b.Cut
	logictest.Answer(b.Logic, talkspb.Talks_ListTalks_FullMethodName, func(context.Context, *talkspb.ListTalksRequest) (*talkspb.ListTalksResponse, error) {
		return &talkspb.ListTalksResponse{Channel: &talkspb.Channel{Name: "channels/go", Title: "Go nights", CanPublish: true}}, nil
	})
	logictest.Answer(b.Logic, followingpb.Following_GetFollow_FullMethodName, func(context.Context, *followingpb.GetFollowRequest) (*followingpb.GetFollowResponse, error) {
		return &followingpb.GetFollowResponse{}, nil
	})
	logictest.Answer(b.Logic, talkspb.Talks_PublishRecording_FullMethodName, func(context.Context, *talkspb.PublishRecordingRequest) (*longrunningpb.Operation, error) {
		return &longrunningpb.Operation{Name: "operations/abc"}, nil
	})
	return b.With(logictest.Session), logictest.ServeMedia(b.Logic), r
}

func video(t *testing.T) (path string, content []byte) {
	t.Helper()
	content = bytes.Repeat([]byte("a frame of looms"), 512<<10) // 8 MiB
	copy(content, "\x00\x00\x00\x18ftypisom")
	path = filepath.Join(t.TempDir(), "looms.mp4")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, content
}

const state = `document.querySelector("[data-state]").textContent`

// The connection is lost in the middle, the page goes on by itself, and the form
// that was sent meanwhile goes out when the file is there.
func TestAnUploadSurvivesALostConnection(t *testing.T) {
	b, kept, road := onTheRoad(t)
	road.loses.Store(1)
	file, content := video(t)
	tab := b.Tab()
	tab.Open("/channels/go")
	tab.Fill("#title", "On looms")
	tab.Choose("#file", file)
	tab.Click(".publish button[type=submit]")
	until(t, "it is published", func() bool { return published(b) != nil })
	sent := published(b)
	if upload, got := kept.Upload(sent.Upload); !bytes.Equal(got, content) || !upload.Whole || upload.FileName != "looms.mp4" || upload.ContentType != "video/mp4" {
		t.Errorf("%d of %d bytes came, of %v", len(got), len(content), upload)
	}
	if sent.Talk.Title != "On looms" || road.loses.Load() >= 0 || kept.UploadCount() != 1 {
		t.Errorf("sent %v, with %d uploads; the connection was lost: %v", sent, kept.UploadCount(), road.loses.Load() < 0)
	}
}

// The page is closed in the middle. Opened again it says what waits; the same
// file goes on where it stopped, and an upload that is whole needs no file.
func TestAnUploadSurvivesAClosedPage(t *testing.T) {
	b, kept, road := onTheRoad(t)
	hold := make(chan struct{})
	road.holds.Store(&hold)
	file, content := video(t)
	tab := b.Tab()
	tab.Open("/channels/go")
	tab.Choose("#file", file)
	until(t, "something arrived", func() bool {
		upload, _ := kept.Upload("uploads/upload1")
		return upload.GetOffset() > 0
	})
	tab.Until(state + ` === "is on its way"`)
	tab.Screenshot("upload-under-way")
	tab.NavigateAway()
	road.holds.Store(nil)
	close(hold)
	tab.Open("/channels/go")
	tab.Until(state + `.startsWith("waits to be sent on")`)
	tab.Screenshot("upload-waits")
	// Sent without the file it would be published without its recording.
	tab.Fill("#title", "On looms")
	tab.Click(".publish button[type=submit]")
	tab.Until(`document.querySelector("[data-wrong]").textContent.includes("Choose the same file")`)
	tab.Choose("#file", file)
	tab.Until(state + ` === "is here"`)
	tab.Screenshot("upload-here")
	if upload, got := kept.Upload("uploads/upload1"); !bytes.Equal(got, content) || !upload.Whole || kept.UploadCount() != 1 {
		t.Errorf("%d of %d bytes came", len(got), len(content))
	}
	tab.Open("/channels/go")
	tab.Until(state + ` === "is here"`)
	tab.Fill("#title", "On looms")
	tab.Click(".publish button[type=submit]")
	until(t, "it is published", func() bool { return published(b) != nil })
	if got := published(b).Upload; got != "uploads/upload1" {
		t.Errorf("published with %q", got)
	}
	// It is used: the page forgets it.
	tab.Until(`location.pathname === "/operations/abc"`)
	tab.Open("/channels/go")
	tab.Until(`document.querySelector(".drop.ready") && localStorage.length === 0`)
}

func TestAnUploadIsCancelled(t *testing.T) {
	b, kept, road := onTheRoad(t)
	hold := make(chan struct{})
	defer close(hold)
	road.holds.Store(&hold)
	file, _ := video(t)
	tab := b.Tab()
	tab.Open("/channels/go")
	tab.Choose("#file", file)
	until(t, "it began", func() bool { return kept.UploadCount() == 1 })
	tab.Until(state + ` === "is on its way"`)
	tab.Click("[data-cancel]")
	until(t, "it is removed", func() bool { return kept.UploadCount() == 0 })
	tab.Until(`document.querySelector("[data-sending]").hidden && localStorage.length === 0`)
}

// What the server refuses is said in its words, once.
func TestAnUploadThatIsRefusedSaysWhy(t *testing.T) {
	b, _, _ := onTheRoad(t)
	empty := filepath.Join(t.TempDir(), "empty.mp4")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tab := b.Tab()
	tab.Open("/channels/go")
	tab.Choose("#file", empty)
	tab.Until(`document.querySelector("[data-wrong]").textContent.includes("no bytes")`)
	tab.Screenshot("upload-refused")
}

// A file of another kind is noticed before a byte of it is sent.
func TestWrongFileIsRefusedBeforeUpload(t *testing.T) {
	b, _, _ := onTheRoad(t)
	tab := b.Tab()
	tab.Open("/channels/go")
	for _, c := range []struct{ name, content, says string }{
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
			` && document.querySelector("[data-wrong]").textContent.includes(` + strconv.Quote(c.says) + `)`)
	}
	tab.Screenshot("upload-wrong-file")
	if calls := b.Logic.Calls(mediapb.Media_CreateUpload_FullMethodName); len(calls) > 0 {
		t.Errorf("%d uploads were created", len(calls))
	}
	good, _ := video(t)
	tab.Choose("#file", good)
	tab.Until(`document.querySelector("input[name=upload]").value !== "" && document.querySelector("[data-wrong]").hidden`)
}

func TestDraftOfFailedPublicationFillsForm(t *testing.T) {
	b, _, _ := onTheRoad(t)
	logictest.Answer(b.Logic, talkspb.Talks_GetDraft_FullMethodName, func(_ context.Context, q *talkspb.GetDraftRequest) (*talkspb.GetDraftResponse, error) {
		if q.Operation != "operations/abc" {
			return nil, logictest.Refusal(codes.NotFound, "DRAFT_NOT_FOUND", "what you typed is no longer kept; publish the talk again")
		}
		return &talkspb.GetDraftResponse{Parent: "channels/go", Upload: "uploads/u", Talk: &talkspb.Talk{
			Title: "On looms", Speakers: []string{"Ada", "Grace"}, Language: "eng", Tags: []string{"history"}, Description: "*Threads*",
		}}, nil
	})
	b.Get("/channels/go?draft=abc").Is(200, " open", `value="On looms"`, `value="Ada, Grace"`, `value="eng"`, `value="history"`, "*Threads*",
		`name="upload" value="uploads/u"`)
	b.Get("/channels/go?draft=gone").Is(200, "What you typed is no longer kept; publish the talk again.")
	b.With("").Get("/channels/go?draft=abc").Is(200).Lacks("On looms")
	tab := b.Tab()
	tab.Open("/channels/go?draft=abc")
	tab.Until(`!document.querySelector("[data-kept]").hidden && document.querySelector("input[name=upload]").value === "uploads/u"`)
	tab.Screenshot("draft")
}

// Without JavaScript the browser sends the file with the form.
func TestAFileWithoutJavaScript(t *testing.T) {
	b, kept, _ := onTheRoad(t)
	file, content := video(t)
	tab := b.Tab().WithoutScripts()
	tab.Open("/channels/go")
	tab.Screenshot("upload-without-javascript")
	tab.Fill("#title", "On looms")
	tab.Choose("#file", file)
	tab.Do(chromedp.Click(chromedp.CSS(".publish button[type=submit]")))
	until(t, "it is published", func() bool { return published(b) != nil })
	if _, got := kept.Upload(published(b).Upload); !bytes.Equal(got, content) || published(b).Talk.Title != "On looms" {
		t.Errorf("%d of %d bytes came, with %v", len(got), len(content), published(b))
	}
}
