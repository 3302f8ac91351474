package studio_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/pages/studio"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
)

func open(t *testing.T) *pagetest.Browser {
	t.Helper()
	b := pagetest.Open(t, false, map[string]ui.Handler{
		"GET /studio": studio.Show, "POST /channels": studio.CreateChannel, "POST /studio/import": studio.Import,
	}).With(logictest.Session)
	logictest.Answer(b.Logic, talkspb.Channels_ListOwnChannels_FullMethodName, func(context.Context, *talkspb.ListOwnChannelsRequest) (*talkspb.ListOwnChannelsResponse, error) {
		return &talkspb.ListOwnChannelsResponse{Channels: []*talkspb.Channel{{Name: "channels/looms", Title: "Looms"}}}, nil
	})
	return b
}

func TestStudioListsOwnChannels(t *testing.T) {
	open(t).Get("/studio").Is(http.StatusOK, "Looms", `action="/studio/import"`, `enctype="multipart/form-data"`, `name="file"`)
	open(t).With("").Get("/studio").RedirectsTo("/sign-in?next=%2Fstudio")
}

func TestCreateChannelRejectsExcessiveDescription(t *testing.T) {
	b := open(t)
	form := url.Values{"slug": {"looms-two"}, "title": {"Kept title"}, "description": {strings.Repeat(">", 1000) + " deep"}}
	b.Post("/channels", form).Is(http.StatusUnprocessableEntity, "too complex", `value="Kept title"`)
	if n := len(b.Logic.Calls(talkspb.Channels_CreateChannel_FullMethodName)); n != 0 {
		t.Errorf("got %d calls to CreateChannel, want none", n)
	}
}

func TestImportStartsOperation(t *testing.T) {
	b := open(t)
	limitReached := false
	logictest.Answer(b.Logic, transferspb.Transfers_ImportCatalogue_FullMethodName, func(_ context.Context, q *transferspb.ImportCatalogueRequest) (*longrunningpb.Operation, error) {
		if limitReached {
			return nil, logictest.RefusalRetry(codes.ResourceExhausted, "TOO_MANY_OPERATIONS", "wait until one finishes", 30*time.Second)
		}
		return &longrunningpb.Operation{Name: "operations/of-" + q.RequestId}, nil
	})
	form := url.Values{"upload": {"uploads/xyz"}, "request_id": {"7"}}
	b.Post("/studio/import", form).RedirectsTo("/operations/of-7")
	b.Post("/studio/import", url.Values{"request_id": {"7"}}).Is(http.StatusUnprocessableEntity, "Choose a catalogue file", `value="7"`)
	limitReached = true
	p := b.Post("/studio/import", form).Is(http.StatusTooManyRequests, "Wait until one finishes.", `value="uploads/xyz"`, `value="7"`)
	if p.Header.Get("Retry-After") != "30" {
		t.Errorf("got Retry-After %q, want 30", p.Header.Get("Retry-After"))
	}
}
