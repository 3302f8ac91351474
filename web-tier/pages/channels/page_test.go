package channels_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	followingpb "techtalks.example/proto/techtalks/following/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/channels"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
)

func open(t *testing.T) *pagetest.Browser {
	b := pagetest.Open(t, false, map[string]ui.Handler{
		"GET /channels": channels.List, "GET /channels/{channel}": channels.Show,
		"POST /channels/{channel}/follow": channels.Follow, "POST /channels/{channel}/unfollow": channels.Unfollow,
		"POST /channels/{channel}/talks": channels.Publish, "POST /channels/{channel}/export": channels.Export,
	})
	logictest.Answer(b.Logic, talkspb.Talks_ListTalks_FullMethodName, func(_ context.Context, q *talkspb.ListTalksRequest) (*talkspb.ListTalksResponse, error) {
		switch q.Parent {
		case "channels/go":
			return &talkspb.ListTalksResponse{
				Channel: &talkspb.Channel{Name: "channels/go", Title: "Go <nights>", TalkCount: 1234, CanPublish: true},
				Talks: []*talkspb.Talk{{
					Name: "channels/go/talks/one", Title: "<script>alert(1)</script>", ChannelTitle: "Go", PublishTime: timestamppb.Now(), Language: "eng",
				}},
				NextPageToken: "after", PreviousPageToken: "before",
			}, nil
		case "channels/gone":
			return nil, logictest.Refusal(codes.NotFound, "CHANNEL_NOT_FOUND", "channel not found")
		}
		return nil, logictest.Refusal(codes.InvalidArgument, "NAME_INVALID", "bad", "parent", "use a channel's name")
	})
	logictest.Answer(b.Logic, followingpb.Following_GetFollow_FullMethodName, func(context.Context, *followingpb.GetFollowRequest) (*followingpb.GetFollowResponse, error) {
		return &followingpb.GetFollowResponse{Following: true}, nil
	})
	return b
}

func TestShowMakesOneCallWhenSignedOut(t *testing.T) {
	b := open(t)
	p := b.Get("/channels/go")
	p.Is(200, "Go &lt;nights&gt;", "1,234 talks", "&lt;script&gt;", "page_token=after", "page_token=before").Lacks("<script>alert")
	calls := b.Logic.Calls("")
	if len(calls) != 1 || !calls[0].HasDeadline || !calls[0].HasTrace || calls[0].Address == "" || calls[0].Session != "" {
		t.Errorf("got calls %+v, want one with a deadline, a trace and the browser's address", calls)
	}
	for _, part := range []string{"web;dur=", "logic;dur=2.00", "data;dur=1.00"} {
		if got := p.Header.Get("Server-Timing"); !strings.Contains(got, part) {
			t.Errorf("got Server-Timing %q, want %s in it", got, part)
		}
	}
	p.Is(200, "web-host", "logic-host", "data-host")
}

func TestShowOffersUnfollowToFollower(t *testing.T) {
	b := open(t).With(logictest.Session)
	b.Get("/channels/go").Is(200, `action="/channels/go/unfollow"`, fmt.Sprintf(`data-inbox-cursor="%s"`, logictest.Cursor), `data-inbox-unread="2"`)
}

// An expired session must not make a public page unreadable: the page renders as for
// a signed-out visitor, and the response deletes the cookie.
func TestShowDropsExpiredSession(t *testing.T) {
	b := open(t).With("expired")
	p := b.Get("/channels/go")
	p.Is(200, "Go &lt;nights&gt;", "Sign in").Lacks("Sign out", "data-inbox-cursor")
	if c := p.Cookie(b.SessionCookie("").Name); c == nil || c.MaxAge >= 0 {
		t.Errorf("got session cookie %+v, want it deleted", c)
	}
}

func TestShowAnswers404ForUnknownChannel(t *testing.T) {
	b := open(t)
	b.Get("/channels/gone").Is(404, "Channel not found.", `action="/talks"`)
	b.Get("/channels/NO%20SUCH%2Fname").Is(404)
}

func TestShowAnswers503WhenLogicTierIsUnavailable(t *testing.T) {
	b := open(t)
	logictest.Answer(b.Logic, talkspb.Talks_ListTalks_FullMethodName, func(context.Context, *talkspb.ListTalksRequest) (*talkspb.ListTalksResponse, error) {
		return nil, status.Error(codes.Unavailable, "dial tcp 10.0.0.7: refused")
	})
	p := b.Get("/channels/go").Is(http.StatusServiceUnavailable, "Nothing is lost").Lacks("10.0.0.7")
	if p.Header.Get("Retry-After") == "" {
		t.Error("got no Retry-After header")
	}
}

// A signed-out visitor gets the stored copy, marked as such; a signed-in account and
// a JSON client get the error.
func TestShowServesStoredCopyWhenLogicTierIsBusy(t *testing.T) {
	b := open(t)
	b.Get("/channels/go").Is(200, "Go &lt;nights&gt;").Lacks("seeing the version from")
	b.With(logictest.Session).Get("/channels/go").Is(200)
	logictest.Answer(b.Logic, talkspb.Talks_ListTalks_FullMethodName, func(context.Context, *talkspb.ListTalksRequest) (*talkspb.ListTalksResponse, error) {
		return nil, logictest.Refusal(codes.ResourceExhausted, "SERVER_BUSY", "full")
	})
	p := b.Get("/channels/go").Is(200, "Go &lt;nights&gt;", "seeing the version from").Lacks("Sign out")
	if p.Header.Get("Age") == "" || p.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("got headers %v, want Age and Cache-Control: no-store", p.Header)
	}
	b.Get("/channels/go?page_token=another").Is(http.StatusServiceUnavailable)
	b.With(logictest.Session).Get("/channels/go").Is(http.StatusServiceUnavailable).Lacks("seeing the version from")
	b.Send(http.MethodGet, "/channels/go", nil, "Accept", "application/json").Is(http.StatusServiceUnavailable)
}

func TestFollowRedirectsToChannel(t *testing.T) {
	b := open(t)
	logictest.Answer(b.Logic, followingpb.Following_Follow_FullMethodName, func(_ context.Context, q *followingpb.FollowRequest) (*followingpb.FollowResponse, error) {
		return &followingpb.FollowResponse{}, nil
	})
	b.With(logictest.Session).Post("/channels/go/follow", nil).RedirectsTo("/channels/go")
}

func TestPublishSendsNormalizedFields(t *testing.T) {
	b := open(t).With(logictest.Session)
	logictest.Answer(b.Logic, talkspb.Talks_CreateTalk_FullMethodName, func(_ context.Context, q *talkspb.CreateTalkRequest) (*talkspb.CreateTalkResponse, error) {
		if q.Talk.MediaUrl != "" {
			return nil, logictest.Refusal(codes.InvalidArgument, "FIELDS_INVALID", "bad", "talk.media_url", "use a web address")
		}
		return &talkspb.CreateTalkResponse{Talk: &talkspb.Talk{Name: q.Parent + "/talks/new"}}, nil
	})
	form := url.Values{
		"title": {"A talk"}, "speakers": {"Ada, Grace\r\nJoan"}, "tags": {"go, , testing"}, "language": {" ENG "},
		"description": {"one\r\ntwo"}, "request_id": {"6f2c8c8e-2f0e-4f54-9d52-0d5d8a5e7a11"},
	}
	b.Post("/channels/go/talks", form).RedirectsTo("/channels/go/talks/new")
	sent := b.Logic.Calls(talkspb.Talks_CreateTalk_FullMethodName)[0].Request.(*talkspb.CreateTalkRequest)
	if strings.Join(sent.Talk.Speakers, "|") != "Ada|Grace|Joan" || strings.Join(sent.Talk.Tags, "|") != "go|testing" ||
		sent.Talk.Language != "eng" || sent.Talk.Description != "one\ntwo" || sent.RequestId != form.Get("request_id") {
		t.Errorf("got request %v, want normalized lists, language and line ends", sent)
	}
	form.Set("media_url", "javascript:alert(1)")
	b.Post("/channels/go/talks", form).Is(422, "Use a web address.", `value="A talk"`, "Ada, Grace", form.Get("request_id"))
}

func TestPublishRejectsExcessiveDescription(t *testing.T) {
	b := open(t).With(logictest.Session)
	form := url.Values{"title": {"Kept title"}, "description": {strings.Repeat(">", 1000) + " deep"}}
	b.Post("/channels/go/talks", form).Is(422, "too complex", "&gt;&gt;&gt; deep", `value="Kept title"`)
	if n := len(b.Logic.Calls(talkspb.Talks_CreateTalk_FullMethodName)); n != 0 {
		t.Errorf("got %d CreateTalk calls, want none", n)
	}
}

// The form is shown again with the fields that were read before the limit.
func TestPublishRejectsFormOver256KB(t *testing.T) {
	b := open(t).With(logictest.Session)
	p := b.Post("/channels/go/talks", url.Values{"title": {"A long talk"}, "zzz": {strings.Repeat("é", 1<<20)}})
	p.Is(http.StatusRequestEntityTooLarge, "256 KB", `value="A long talk"`)
	if n := len(b.Logic.Calls(talkspb.Talks_CreateTalk_FullMethodName)); n != 0 {
		t.Errorf("got %d CreateTalk calls, want none", n)
	}
}

func TestPublishRejectsInvalidUTF8(t *testing.T) {
	open(t).With(logictest.Session).Post("/channels/go/talks", url.Values{"title": {"\xff\xfe"}}).Is(http.StatusBadRequest, "UTF-8")
}
