package ui_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logictest"
)

// stalledSite returns a site whose logic tier accepts calls to ListTalks but never responds.
func stalledSite(t *testing.T) *ui.Site {
	t.Helper()
	tier := logictest.New(t)
	logictest.Answer(tier, talkspb.Talks_ListTalks_FullMethodName, func(ctx context.Context, _ *talkspb.ListTalksRequest) (*talkspb.ListTalksResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	return &ui.Site{Tier: tier.Logic, Host: "web-host"}
}

func listTalks(v *ui.PageContext) error {
	return v.FetchAll(func(ctx context.Context) error {
		_, err := v.Site.Tier.Talks.ListTalks(ctx, &talkspb.ListTalksRequest{})
		return err
	})
}

// budget is the page's budget, which the stalled logic tier exhausts.
const budget = 100 * time.Millisecond

func request(site *ui.Site, handle ui.Handler, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	site.Page(budget, handle).ServeHTTP(w, r)
	return w
}

func TestFail_RendersErrorPageAfterBudgetExpires(t *testing.T) {
	site := stalledSite(t)
	for _, cookie := range []string{"", "session=" + logictest.Session} {
		w := request(site, listTalks, "Cookie", cookie)
		if w.Code != http.StatusGatewayTimeout || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || w.Header().Get("Retry-After") == "" {
			t.Errorf("cookie %q: got status %d, headers %v; want 504 with an HTML page and Retry-After", cookie, w.Code, w.Header())
		}
		for _, text := range []string{`<section class="problem">`, "That took too long", "Try again", "reloads automatically", "<nav"} {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("cookie %q: page lacks %q:\n%s", cookie, text, w.Body)
			}
		}
	}
	w := request(site, listTalks, "Accept", "application/json")
	if w.Code != http.StatusGatewayTimeout || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("Accept: application/json: got status %d, headers %v; want 504 with problem details", w.Code, w.Header())
	}
}

func TestFormIsShownAgainForSignedInAccountAfterBudgetExpires(t *testing.T) {
	w := request(stalledSite(t), func(v *ui.PageContext) error {
		err := listTalks(v)
		f, status, ok := v.WithErrors(ui.NewFields(map[string]string{"title": "as typed"}), err, nil)
		if !ok {
			return err
		}
		if err := v.FetchAll(); err != nil {
			return err
		}
		if v.Account == nil {
			t.Error("Account is nil after FetchAll")
		}
		return v.Render(status, ui.TalkForm(f))
	}, "Cookie", "session="+logictest.Session)
	if w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), "as typed") {
		t.Errorf("got status %d, want 504 with the submitted values:\n%s", w.Code, w.Body)
	}
}
