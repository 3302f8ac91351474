// Package pagetest opens a page in a test as a browser would: through everything
// that every request passes through, with a stand-in logic tier behind it.
package pagetest

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/html"

	"techtalks.example/web-tier/assets"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/downloads"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/logictest"
	"techtalks.example/web-tier/platform/server"
	"techtalks.example/web-tier/platform/uploads"
)

// Browser opens pages.
type Browser struct {
	Logic *logictest.Tier
	// Cut breaks every connection to the site, as a lost network does.
	Cut func()

	t       *testing.T
	address string
	secure  bool
	client  *http.Client
	session string
}

// Open serves the handlers, by pattern, and returns a browser with nobody signed
// in. Site.Secure is as given.
func Open(t *testing.T, secure bool, handlers map[string]ui.Handler) *Browser {
	t.Helper()
	return OpenThrough(t, secure, handlers, func(site http.Handler) http.Handler { return site })
}

// OpenThrough is Open with something between the browser and the site. Assets
// and bytes are there too, in and out.
func OpenThrough(t *testing.T, secure bool, handlers map[string]ui.Handler, between func(http.Handler) http.Handler) *Browser {
	t.Helper()
	tier := logictest.New(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	site := &ui.Site{Tier: tier.Logic, Uploads: uploads.New(tier.Logic.Media), Log: log, Host: "web-host", Secure: secure}
	passage := server.New(log, prometheus.NewRegistry(), secure, site.Caller, site.Refuse, site.StandIn)
	mux := http.NewServeMux()
	for pattern, handle := range handlers {
		mux.Handle(pattern, passage.Admit(site.Page(logicclient.FormBudget, handle)))
	}
	mux.HandleFunc("GET /assets/{name}", func(w http.ResponseWriter, r *http.Request) { assets.Serve(w, r) })
	mux.Handle("/uploads", site.Uploads.Handler(site.Caller))
	mux.Handle("/uploads/{upload}", site.Uploads.Handler(site.Caller))
	bytes := downloads.New(tier.Logic.Media, site.Caller, site.Refuse)
	mux.HandleFunc("GET /recordings/{recording}/{file}", bytes.Recording)
	mux.HandleFunc("GET /files/{upload}", bytes.Upload)
	served := httptest.NewServer(between(passage.Handler(mux)))
	t.Cleanup(served.Close)
	return &Browser{Logic: tier, t: t, address: served.URL, secure: secure, Cut: served.CloseClientConnections, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// With returns the browser with a session cookie.
func (b *Browser) With(session string) *Browser {
	other := *b
	other.session = session
	return &other
}

// SessionCookie returns the cookie of a session.
func (b *Browser) SessionCookie(session string) *http.Cookie {
	return &http.Cookie{Name: ui.SessionCookieName(strings.TrimPrefix(b.address, "http://"), b.secure), Value: session}
}

// Address is the site's.
func (b *Browser) Address() string { return b.address }

// Page is what came back.
type Page struct {
	*http.Response
	Text string

	t *testing.T
}

// Get opens a page.
func (b *Browser) Get(path string) *Page {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil)
}

// Post sends a form.
func (b *Browser) Post(path string, form url.Values) *Page {
	b.t.Helper()
	return b.do(http.MethodPost, path, strings.NewReader(form.Encode()))
}

func (b *Browser) do(method, path string, body io.Reader) *Page {
	b.t.Helper()
	if body == nil {
		return b.Send(method, path, nil)
	}
	return b.Send(method, path, body, "Content-Type", "application/x-www-form-urlencoded")
}

// Send sends a request with headers, by pairs.
func (b *Browser) Send(method, path string, body io.Reader, headers ...string) *Page {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.address+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	if b.session != "" {
		request.AddCookie(b.SessionCookie(b.session))
	}
	response, err := b.client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	p := &Page{Response: response, Text: string(text), t: b.t}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") && response.StatusCode != http.StatusSeeOther {
		p.obeysPolicy()
	}
	return p
}

// Is fails the test unless the page has the status and every text.
func (p *Page) Is(status int, texts ...string) *Page {
	p.t.Helper()
	if p.StatusCode != status {
		p.t.Errorf("%s %s: status %d, want %d\n%s", p.Request.Method, p.Request.URL, p.StatusCode, status, p.Text)
	}
	for _, text := range texts {
		if !strings.Contains(p.Text, text) {
			p.t.Errorf("%s %s: no %q in\n%s", p.Request.Method, p.Request.URL, text, p.Text)
		}
	}
	return p
}

// Lacks fails the test if the page has any of the texts.
func (p *Page) Lacks(texts ...string) *Page {
	p.t.Helper()
	for _, text := range texts {
		if strings.Contains(p.Text, text) {
			p.t.Errorf("%s %s: %q in\n%s", p.Request.Method, p.Request.URL, text, p.Text)
		}
	}
	return p
}

// Leads fails the test unless the page redirects there.
func (p *Page) Leads(to string) *Page {
	p.t.Helper()
	if p.StatusCode != http.StatusSeeOther || p.Header.Get("Location") != to {
		p.t.Errorf("%s %s: status %d to %q, want 303 to %q\n%s", p.Request.Method, p.Request.URL, p.StatusCode, p.Header.Get("Location"), to, p.Text)
	}
	return p
}

// Cookie returns the cookie that the page sets; nil when it sets none.
func (p *Page) Cookie(name string) *http.Cookie {
	for _, c := range p.Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// obeysPolicy fails the test for what the Content-Security-Policy would block in
// a real browser, where a test would not see it.
func (p *Page) obeysPolicy() {
	p.t.Helper()
	if p.Header.Get("Content-Security-Policy") == "" {
		p.t.Errorf("%s has no Content-Security-Policy", p.Request.URL)
	}
	for tokens := html.NewTokenizer(strings.NewReader(p.Text)); tokens.Next() != html.ErrorToken; {
		token := tokens.Token()
		if token.Type != html.StartTagToken && token.Type != html.SelfClosingTagToken {
			continue
		}
		script, src := token.Data == "script", false
		for _, a := range token.Attr {
			src = src || a.Key == "src"
			if a.Key == "style" || strings.HasPrefix(a.Key, "on") {
				p.t.Errorf("%s: <%s> has an inline %s", p.Request.URL, token.Data, a.Key)
			}
			if (a.Key == "href" || a.Key == "src" || a.Key == "action") && strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
				p.t.Errorf("%s: <%s> leads to %q", p.Request.URL, token.Data, a.Val)
			}
		}
		if script && !src || token.Data == "style" {
			p.t.Errorf("%s: inline <%s>", p.Request.URL, token.Data)
		}
	}
}
