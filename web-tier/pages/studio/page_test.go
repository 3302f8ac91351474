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

func TestTheStudioShowsOnesChannels(t *testing.T) {
	open(t).Get("/studio").Is(http.StatusOK, "Looms", `action="/studio/import"`, `enctype="multipart/form-data"`, `name="file"`)
	open(t).With("").Get("/studio").Leads("/sign-in?next=%2Fstudio")
	open(t).With("").Post("/studio/import", nil).Leads("/sign-in?next=/studio")
}

func TestExcessiveDescriptionOfChannelIsRefused(t *testing.T) {
	b := open(t)
	form := url.Values{"slug": {"looms-two"}, "title": {"Kept title"}, "description": {strings.Repeat(">", 1000) + " deep"}}
	b.Post("/channels", form).Is(http.StatusUnprocessableEntity, "too complex", `value="Kept title"`)
	if n := len(b.Logic.Calls(talkspb.Channels_CreateChannel_FullMethodName)); n != 0 {
		t.Errorf("it was created %d times", n)
	}
}

func TestACatalogueIsImported(t *testing.T) {
	b := open(t)
	many := false
	logictest.Answer(b.Logic, transferspb.Transfers_ImportCatalogue_FullMethodName, func(_ context.Context, q *transferspb.ImportCatalogueRequest) (*longrunningpb.Operation, error) {
		if many {
			return nil, logictest.RefusalRetry(codes.ResourceExhausted, "TOO_MANY_OPERATIONS", "wait for one to end", 30*time.Second)
		}
		return &longrunningpb.Operation{Name: "operations/of-" + q.RequestId}, nil
	})
	form := url.Values{"upload": {"uploads/xyz"}, "request_id": {"7"}}
	b.Post("/studio/import", form).Leads("/operations/of-7")
	b.Post("/studio/import", url.Values{"request_id": {"7"}}).Is(http.StatusUnprocessableEntity, "Choose the catalogue", `value="7"`)
	many = true
	p := b.Post("/studio/import", form).Is(http.StatusTooManyRequests, "Wait for one to end.", `value="uploads/xyz"`, `value="7"`)
	if p.Header.Get("Retry-After") != "30" {
		t.Errorf("Retry-After %q", p.Header.Get("Retry-After"))
	}
}
