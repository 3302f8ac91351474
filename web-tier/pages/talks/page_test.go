package talks_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/talks"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
)

func open(t *testing.T, talk *talkspb.Talk) *pagetest.Browser {
	b := pagetest.Open(t, false, map[string]ui.Handler{
		"GET /talks": talks.List, "GET /channels/{channel}/talks/{talk}": talks.Show,
		"GET /channels/{channel}/talks/{talk}/edit": talks.Edit, "POST /channels/{channel}/talks/{talk}/edit": talks.Save,
		"POST /channels/{channel}/talks/{talk}/withdraw": talks.Withdraw,
	})
	logictest.Answer(b.Logic, talkspb.Talks_GetTalk_FullMethodName, func(_ context.Context, q *talkspb.GetTalkRequest) (*talkspb.GetTalkResponse, error) {
		if talk == nil {
			return nil, logictest.Refusal(codes.NotFound, "TALK_WITHDRAWN", "this talk was withdrawn by its publisher")
		}
		talk.Name = q.Name
		return &talkspb.GetTalkResponse{Talk: talk}, nil
	})
	return b
}

const path = "/channels/go/talks/one"

// talkWith fills in the fields of talk that every test needs.
func talkWith(talk *talkspb.Talk) *talkspb.Talk {
	talk.Title, talk.ChannelTitle, talk.PublishTime = "A talk", "Go", timestamppb.Now()
	return talk
}

func TestShowSanitizesDescription(t *testing.T) {
	talk := talkWith(&talkspb.Talk{Description: "**strong** <script>alert(1)</script> [x](javascript:alert(1)) [y](https://example.org)"})
	open(t, talk).Get(path).Is(200, "<strong>strong</strong>", `href="https://example.org"`, "nofollow").Lacks("alert(1)</script>", "javascript:")
}

// excessive is a description that exceeds the limits of the Markdown renderer.
var excessive = strings.Repeat(">", 1000) + " deep"

func TestShowRendersExcessiveDescriptionAsPlainText(t *testing.T) {
	open(t, talkWith(&talkspb.Talk{Description: excessive})).Get(path).Is(200, "&gt;&gt;&gt; deep").Lacks("<blockquote")
}

func TestSaveRejectsExcessiveDescription(t *testing.T) {
	b := open(t, talkWith(&talkspb.Talk{CanEdit: true})).With(logictest.Session)
	b.Post(path+"/edit", url.Values{"title": {"Other"}, "description": {excessive}}).Is(422, "too complex", "&gt;&gt;&gt; deep", `value="Other"`)
	if n := len(b.Logic.Calls(talkspb.Talks_UpdateTalk_FullMethodName)); n != 0 {
		t.Errorf("got %d UpdateTalk calls, want none", n)
	}
}

func TestShowAllowsForeignMediaOnlyOnPagesThatPlayIt(t *testing.T) {
	for _, c := range []struct {
		url, want string
		plays     bool
	}{
		{"https://example.org/a.mp4", "<video", true},
		{"https://example.org/a.WEBM?x=1", "<video", true},
		{"https://www.youtube.com/watch?v=x", "https://www.youtube.com/watch?v=x", false},
		{"javascript:alert(1)//.mp4", "A talk", false},
	} {
		p := open(t, talkWith(&talkspb.Talk{MediaUrl: c.url})).Get(path).Is(200, c.want).Lacks("javascript:")
		if got := strings.Contains(p.Header.Get("Content-Security-Policy"), "media-src https: http:"); got != c.plays {
			t.Errorf("%s: got policy %q, want foreign media allowed: %v", c.url, p.Header.Get("Content-Security-Policy"), c.plays)
		}
	}
}

func TestShowPlaysStoredRecordingFromThisSiteOnly(t *testing.T) {
	b := open(t, talkWith(&talkspb.Talk{Recording: "recordings/one", MediaUrl: "https://example.org/a.mp4"}))
	found := true
	logictest.Answer(b.Logic, mediapb.Media_GetRecording_FullMethodName, func(_ context.Context, q *mediapb.GetRecordingRequest) (*mediapb.GetRecordingResponse, error) {
		if !found {
			return nil, logictest.Refusal(codes.NotFound, "RECORDING_NOT_FOUND", "there is no such recording")
		}
		return &mediapb.GetRecordingResponse{Recording: &mediapb.Recording{
			Name: q.Name, Poster: q.Name + "/poster", LeftOut: []string{"no <480p> rendition: ffmpeg is not installed"},
			Renditions: []*mediapb.Recording_Rendition{
				{File: q.Name + "/original", ContentType: "video/webm", Size: 9_000_000_000},
				{File: q.Name + "/480p", ContentType: "video/mp4", Size: 1_234_567, Width: 854, Height: 480},
			},
		}}, nil
	})
	p := b.Get(path).Is(200, `poster="/recordings/one/poster"`, `src="/recordings/one/480p" type="video/mp4"`, `src="/recordings/one/original" type="video/webm"`,
		"480p (854 × 480, mp4, 1.2 MB)", "Original (webm, 9.0 GB)", "No &lt;480p&gt; rendition: ffmpeg is not installed.").Lacks("example.org")
	if strings.Index(p.Text, "<source src=\"/recordings/one/480p") > strings.Index(p.Text, "<source src=\"/recordings/one/original") {
		t.Error("got the original as first source, want it last")
	}
	if got := p.Header.Get("Content-Security-Policy"); !strings.Contains(got, "media-src 'self'") || strings.Contains(got, "https:") {
		t.Errorf("got policy %q, want media from 'self' only", got)
	}
	found = false
	b.Get(path).Is(200, "https://example.org/a.mp4")
}

func TestPlayerShowsURLOfUnreachableRecording(t *testing.T) {
	broken := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(broken.Close)
	b := open(t, talkWith(&talkspb.Talk{MediaUrl: broken.URL + "/one.mp4"}))
	tab := b.Tab()
	tab.Open(path)
	tab.Until("document.querySelector('.unreachable').hidden")
	tab.Run("const player = document.querySelector('video'); player.muted = true; void player.play().catch(() => 0)")
	tab.Until("document.querySelector('.unreachable').innerText == `This recording can't be reached: " + broken.URL + "/one.mp4`")
	tab.Screenshot("unreachable")

	// A stored recording fails while the page loads.
	b = open(t, talkWith(&talkspb.Talk{Recording: "recordings/one"}))
	logictest.Answer(b.Logic, mediapb.Media_GetRecording_FullMethodName, func(_ context.Context, q *mediapb.GetRecordingRequest) (*mediapb.GetRecordingResponse, error) {
		return &mediapb.GetRecordingResponse{Recording: &mediapb.Recording{Name: q.Name, Renditions: []*mediapb.Recording_Rendition{
			{File: q.Name + "/original", ContentType: "video/mp4"}, {File: q.Name + "/480p", ContentType: "video/mp4"},
		}}}, nil
	})
	tab = b.Tab()
	tab.Open(path)
	tab.Until("document.querySelector('.unreachable').innerText == `This recording can't be reached: " + b.Address() + "/recordings/one/original`")
}

func TestShowAnswers410ForWithdrawnTalk(t *testing.T) { open(t, nil).Get(path).Is(410, "withdrawn") }

func TestEditRequiresPermission(t *testing.T) {
	open(t, talkWith(&talkspb.Talk{})).With(logictest.Session).Get(path + "/edit").Is(403)
	open(t, talkWith(&talkspb.Talk{CanEdit: true, Speakers: []string{"Ada", "Grace"}})).With(logictest.Session).
		Get(path+"/edit").Is(200, `value="A talk"`, "Ada")
}

func TestSaveUpdatesFieldsOfForm(t *testing.T) {
	b := open(t, talkWith(&talkspb.Talk{CanEdit: true})).With(logictest.Session)
	logictest.Answer(b.Logic, talkspb.Talks_UpdateTalk_FullMethodName, func(_ context.Context, q *talkspb.UpdateTalkRequest) (*talkspb.UpdateTalkResponse, error) {
		if q.Talk.Title == "" {
			return nil, logictest.Refusal(codes.InvalidArgument, "FIELDS_INVALID", "bad", "talk.title", "enter a title")
		}
		return &talkspb.UpdateTalkResponse{Talk: q.Talk}, nil
	})
	b.Post(path+"/edit", url.Values{"title": {"Other"}}).RedirectsTo(path)
	mask := b.Logic.Calls(talkspb.Talks_UpdateTalk_FullMethodName)[0].Request.(*talkspb.UpdateTalkRequest).UpdateMask.Paths
	if strings.Join(mask, " ") != "title speakers language tags description media_url" {
		t.Errorf("got update mask %v, want the fields of the form", mask)
	}
	b.Post(path+"/edit", url.Values{"title": {""}, "description": {"kept words"}}).Is(422, "Enter a title.", "kept words")
}

func TestListSearches(t *testing.T) {
	b := open(t, nil)
	logictest.Answer(b.Logic, talkspb.Talks_ListTalks_FullMethodName, func(_ context.Context, q *talkspb.ListTalksRequest) (*talkspb.ListTalksResponse, error) {
		switch {
		case q.PageToken != "":
			return nil, logictest.Refusal(codes.InvalidArgument, "PAGE_TOKEN_INVALID", "bad", "page_token", "use a token from a previous response")
		case len(q.Query) > 200:
			return nil, logictest.Refusal(codes.InvalidArgument, "FIELDS_INVALID", "bad", "query", "search for at most 200 characters")
		case q.Query == "none":
			return &talkspb.ListTalksResponse{}, nil
		}
		return &talkspb.ListTalksResponse{Talks: []*talkspb.Talk{talkWith(&talkspb.Talk{Name: "channels/go/talks/one"})}, NextPageToken: "n&x", Languages: []string{"deu", "eng"}}, nil
	})
	b.Get("/talks?q=go&language=eng").Is(200, "A talk", "page_token=n%26x", "language=eng", `value="go"`)
	b.Get("/talks?q=none").Is(200).Lacks("A talk")
	b.Get("/talks?q="+strings.Repeat("x", 201)).Is(400, "search for at most 200 characters")
	b.Get("/talks?q=go&page_token=made-up").Is(400, `href="/talks?q=go"`)
}
