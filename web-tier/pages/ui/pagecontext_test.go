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

// stalled returns a site whose logic tier takes calls and answers none of a page's.
func stalled(t *testing.T) *ui.Site {
	t.Helper()
	tier := logictest.New(t)
	logictest.Answer(tier, talkspb.Talks_ListTalks_FullMethodName, func(ctx context.Context, _ *talkspb.ListTalksRequest) (*talkspb.ListTalksResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	return &ui.Site{Tier: tier.Logic, Host: "web-host"}
}

func listTalks(v *ui.Visit) error {
	return v.Gather(func(ctx context.Context) error {
		_, err := v.Site.Tier.Talks.ListTalks(ctx, &talkspb.ListTalksRequest{})
		return err
	})
}

// budget of a page, which the stalled logic tier uses up.
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

func TestFailRendersPageAfterBudgetIsSpent(t *testing.T) {
	site := stalled(t)
	for _, cookie := range []string{"", "session=" + logictest.Session} {
		w := request(site, listTalks, "Cookie", cookie)
		if w.Code != http.StatusGatewayTimeout || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || w.Header().Get("Retry-After") == "" {
			t.Errorf("cookie %q: got %d, %v", cookie, w.Code, w.Header())
		}
		for _, text := range []string{`<section class="problem">`, "That took too long", "Try again", "tries again by itself", "<nav"} {
			if !strings.Contains(w.Body.String(), text) {
				t.Errorf("cookie %q: no %q in\n%s", cookie, text, w.Body)
			}
		}
	}
	w := request(site, listTalks, "Accept", "application/json")
	if w.Code != http.StatusGatewayTimeout || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("as JSON: got %d, %v", w.Code, w.Header())
	}
}

// A form that is shown again after a timeout still finds out who is signed in.
func TestRefusedFormIsShownAgainAfterBudgetIsSpent(t *testing.T) {
	w := request(stalled(t), func(v *ui.Visit) error {
		err := listTalks(v)
		f, status, again := v.Refused(ui.Filled(map[string]string{"title": "as typed"}), err, nil)
		if !again {
			return err
		}
		if err := v.Gather(); err != nil {
			return err
		}
		if v.Account == nil {
			t.Error("nobody is signed in")
		}
		return v.Render(status, ui.TalkForm(f))
	}, "Cookie", "session="+logictest.Session)
	if w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), "as typed") {
		t.Errorf("got %d\n%s", w.Code, w.Body)
	}
}
