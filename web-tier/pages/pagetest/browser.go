// Package pagetest tests pages as a browser sees them: through the server's full middleware
// chain, with a fake logic tier behind the site.
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

// Browser sends requests to a site under test.
type Browser struct {
	Logic *logictest.Tier
	// Cut closes all connections to the site, to simulate a network failure.
	Cut func()

	t       *testing.T
	address string
	secure  bool
	client  *http.Client
	session string
}

// Open serves handlers, keyed by pattern, until the test ends. It returns a browser that is
// not signed in. secure sets Site.Secure.
func Open(t *testing.T, secure bool, handlers map[string]ui.Handler) *Browser {
	t.Helper()
	return OpenWithMiddleware(t, secure, handlers, func(site http.Handler) http.Handler { return site })
}

// OpenWithMiddleware is like Open, but wraps the site in middleware. Besides handlers, the site
// serves assets, uploads and downloads.
func OpenWithMiddleware(t *testing.T, secure bool, handlers map[string]ui.Handler, middleware func(http.Handler) http.Handler) *Browser {
	t.Helper()
	tier := logictest.New(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	site := &ui.Site{Tier: tier.Logic, Uploads: uploads.New(tier.Logic.Media), Log: log, Host: "web-host", Secure: secure}
	passage := server.New(log, prometheus.NewRegistry(), secure, site.Caller, site.Refuse, site.ServeStale)
	mux := http.NewServeMux()
	for pattern, handle := range handlers {
		mux.Handle(pattern, passage.Admit(site.Page(logicclient.FormBudget, handle)))
	}
	mux.HandleFunc("GET /assets/{name}", func(w http.ResponseWriter, r *http.Request) { assets.Serve(w, r) })
	mux.Handle("/uploads", site.Uploads.Handler(site.Caller))
	mux.Handle("/uploads/{upload}", site.Uploads.Handler(site.Caller))
	files := downloads.New(tier.Logic.Media, site.Caller, site.Refuse)
	mux.HandleFunc("GET /recordings/{recording}/{file}", files.Recording)
	mux.HandleFunc("GET /files/{upload}", files.Upload)
	backend := httptest.NewServer(middleware(passage.Handler(mux)))
	t.Cleanup(backend.Close)
	return &Browser{Logic: tier, t: t, address: backend.URL, secure: secure, Cut: backend.CloseClientConnections, client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// With returns a copy of the browser that sends the session token in its cookie; "" sends none.
func (b *Browser) With(session string) *Browser {
	signedIn := *b
	signedIn.session = session
	return &signedIn
}

// SessionCookie returns the site's session cookie with the given token.
func (b *Browser) SessionCookie(session string) *http.Cookie {
	return &http.Cookie{Name: ui.SessionCookieName(strings.TrimPrefix(b.address, "http://"), b.secure), Value: session}
}

// Address returns the site's base URL.
func (b *Browser) Address() string { return b.address }

// Page is a response with its body.
type Page struct {
	*http.Response
	Text string

	t *testing.T
}

// Get requests a page.
func (b *Browser) Get(path string) *Page {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil)
}

// Post submits a form.
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

// Send sends a request. headers alternates names and values.
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
		p.checkPolicy()
	}
	return p
}

// Is fails the test unless the response has the status and contains every text.
func (p *Page) Is(status int, texts ...string) *Page {
	p.t.Helper()
	if p.StatusCode != status {
		p.t.Errorf("%s %s: got status %d, want %d\n%s", p.Request.Method, p.Request.URL, p.StatusCode, status, p.Text)
	}
	for _, text := range texts {
		if !strings.Contains(p.Text, text) {
			p.t.Errorf("%s %s: response lacks %q:\n%s", p.Request.Method, p.Request.URL, text, p.Text)
		}
	}
	return p
}

// Lacks fails the test if the response contains any of the texts.
func (p *Page) Lacks(texts ...string) *Page {
	p.t.Helper()
	for _, text := range texts {
		if strings.Contains(p.Text, text) {
			p.t.Errorf("%s %s: response contains %q:\n%s", p.Request.Method, p.Request.URL, text, p.Text)
		}
	}
	return p
}

// RedirectsTo fails the test unless the response redirects to location with status 303.
func (p *Page) RedirectsTo(location string) *Page {
	p.t.Helper()
	if p.StatusCode != http.StatusSeeOther || p.Header.Get("Location") != location {
		p.t.Errorf("%s %s: got status %d to %q, want 303 to %q\n%s", p.Request.Method, p.Request.URL, p.StatusCode, p.Header.Get("Location"), location, p.Text)
	}
	return p
}

// Cookie returns the cookie that the response sets, or nil if it does not set it.
func (p *Page) Cookie(name string) *http.Cookie {
	for _, c := range p.Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// checkPolicy fails the test for markup that the Content-Security-Policy would block in a real
// browser.
func (p *Page) checkPolicy() {
	p.t.Helper()
	if p.Header.Get("Content-Security-Policy") == "" {
		p.t.Errorf("%s: missing Content-Security-Policy", p.Request.URL)
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
				p.t.Errorf("%s: <%s> has the inline attribute %s", p.Request.URL, token.Data, a.Key)
			}
			if (a.Key == "href" || a.Key == "src" || a.Key == "action") && strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
				p.t.Errorf("%s: <%s> links to %q", p.Request.URL, token.Data, a.Val)
			}
		}
		if script && !src || token.Data == "style" {
			p.t.Errorf("%s: inline <%s>", p.Request.URL, token.Data)
		}
	}
}
