package ui

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/a-h/templ"
	"golang.org/x/sync/errgroup"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

// PageContext holds the state of one request for a page.
type PageContext struct {
	Site    *Site
	Writer  http.ResponseWriter
	Request *http.Request

	// Account is the signed-in account, or nil. FetchAll sets it.
	Account *accountspb.Account
	// Unread is the number of unread notifications. Cursor is the position in the inbox from
	// which the page's stream of notifications starts. FetchAll sets both.
	Unread int32
	Cursor string
	// Scripts and Styles name the assets that the page loads in addition to those of the layout.
	Scripts, Styles []string
	// ReloadWithoutScripts makes the page reload periodically in browsers without JavaScript.
	ReloadWithoutScripts bool
	// ReloadAfter makes the page reload after this time, with or without JavaScript; 0 means
	// never.
	ReloadAfter time.Duration

	ctx     context.Context // has the budget as its deadline
	cancel  context.CancelFunc
	start   time.Time
	times   *logicclient.Times
	session string
	caller  logicclient.Caller

	attached *attachment // the file of the parsed form, or nil
}

// Context returns the request's context with the page's budget as its deadline.
func (v *PageContext) Context() context.Context { return v.ctx }

// setBudget replaces the remaining budget: calls from now on share budget.
func (v *PageContext) setBudget(budget time.Duration) {
	if v.cancel != nil {
		v.cancel()
	}
	ctx, cancel := context.WithTimeout(logicclient.WithTimes(v.Request.Context(), v.times), budget)
	v.ctx, v.cancel = logicclient.WithCaller(ctx, v.caller), cancel
}

// close releases the context's resources.
func (v *PageContext) close() { v.cancel() }

// FetchAll runs calls concurrently, together with those that load the signed-in account and
// its inbox for the layout. If the session is no longer valid, FetchAll deletes the session
// cookie and runs the calls again without it.
func (v *PageContext) FetchAll(calls ...func(context.Context) error) error {
	err := v.fetchAll(calls)
	if err == nil || v.session == "" {
		return err
	}
	if logicclient.Explain(err).Reason != "SESSION_INVALID" {
		return err
	}
	v.SignOut()
	v.session, v.caller.Session, v.Account = "", "", nil
	v.ctx = logicclient.WithCaller(v.ctx, v.caller)
	return v.fetchAll(calls)
}

func (v *PageContext) fetchAll(calls []func(context.Context) error) error {
	defer v.times.Done()
	if v.session == "" && len(calls) == 1 {
		return calls[0](v.ctx) // the common case, without goroutines
	}
	g, ctx := errgroup.WithContext(v.ctx)
	for _, call := range calls {
		g.Go(func() error { return call(ctx) })
	}
	if v.session != "" {
		g.Go(func() error {
			response, err := v.Site.Tier.Accounts.GetCurrentAccount(ctx, &accountspb.GetCurrentAccountRequest{})
			v.Account = response.GetAccount()
			return err
		})
		g.Go(func() error {
			response, err := v.Site.Tier.Notifications.GetInbox(ctx, &notificationspb.GetInboxRequest{})
			v.Unread, v.Cursor = response.GetUnreadCount(), response.GetCursor()
			return err
		})
	}
	return g.Wait()
}

// Anonymous returns the context without the session. Signing in and up use it, so that an
// expired session does not prevent a new one.
func (v *PageContext) Anonymous() context.Context {
	return logicclient.WithCaller(v.ctx, logicclient.Caller{Address: v.caller.Address})
}

// SignedIn reports whether the browser sent a session. Only a call shows whether the session
// is valid.
func (v *PageContext) SignedIn() bool { return v.session != "" }

// RequireSession returns a handler that asks clients without a session to sign in, and passes
// the others to handle.
func RequireSession(handle Handler) Handler {
	return func(v *PageContext) error {
		if !v.SignedIn() {
			return v.askToSignIn()
		}
		return handle(v)
	}
}

// askToSignIn redirects a browser to the sign-in page, which returns it to the current page.
// For a client that prefers JSON it returns an error.
func (v *PageContext) askToSignIn() error {
	v.Writer.Header().Add("Vary", "Accept")
	if v.PrefersJSON() {
		return &logicclient.Problem{Status: http.StatusUnauthorized, Title: "Sign in first", Message: "Sign in, and send the session cookie with the request."}
	}
	next := v.Request.URL.RequestURI()
	if v.Request.Method == http.MethodPost {
		// A POST cannot be repeated after signing in; return to the page with the form.
		next = "/"
		if from, err := url.Parse(v.Request.Referer()); err == nil && from.Host == v.Request.Host {
			next = LocalPath(from.RequestURI(), "/")
		}
	}
	return v.Redirect("/sign-in?next=" + url.QueryEscape(next))
}

// Redirect responds with 303 See Other: the browser requests url with GET.
func (v *PageContext) Redirect(url string) error {
	http.Redirect(v.Writer, v.Request, url, http.StatusSeeOther)
	return nil
}

// buffers holds pages while they render. A page that fails halfway can thus become an error
// page, and its timing is known before the first byte is sent.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooledBuffer is the capacity above which a buffer is not returned to the pool.
const maxPooledBuffer = 256 << 10

// Render responds with page and status.
func (v *PageContext) Render(status int, page templ.Component) error {
	buffer := buffers.Get().(*bytes.Buffer)
	buffer.Reset()
	defer func() {
		if buffer.Cap() <= maxPooledBuffer {
			buffers.Put(buffer)
		}
	}()
	// Not v.ctx: its budget is for calls and may have expired.
	if err := page.Render(v.Request.Context(), buffer); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	if status == http.StatusOK && v.public() {
		v.Site.stale.put(v.Request.URL.RequestURI(), buffer.Bytes(), time.Now())
	}
	h := v.Writer.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(buffer.Len()))
	h.Set("Server-Timing", v.Timing().header())
	if h.Get("Cache-Control") == "" {
		// The layout shows the account and its unread notifications.
		h.Set("Cache-Control", "private, no-cache")
	}
	v.Writer.WriteHeader(status)
	if v.Request.Method != http.MethodHead {
		_, _ = v.Writer.Write(buffer.Bytes()) // the client may have disconnected
	}
	return nil
}

// statusClientClosedRequest is logged for a client that disconnected. nginx uses the same
// non-standard code.
const statusClientClosedRequest = 499

// recoveryBudget is the budget of the calls that a page makes after an error, to render an
// error page or a form with errors. The page's own budget may have expired by then.
const recoveryBudget = time.Second

// Fail responds with the error page of err.
func (v *PageContext) Fail(err error) {
	p := logicclient.Explain(err)
	if v.Request.Context().Err() != nil {
		// The client has disconnected. The status keeps this from being logged as a server error.
		v.Writer.WriteHeader(statusClientClosedRequest)
		return
	}
	if v.Request.Method == http.MethodGet || v.Request.Method == http.MethodHead {
		p = p.InvalidNameAsNotFound()
	}
	if p.NeedsSession() && !v.PrefersJSON() {
		v.SignOut()
		_ = v.askToSignIn()
		return
	}
	if p.Status >= 500 {
		server.RecordError(v.Request.Context(), err)
	}
	if isTransient(p) && v.serveStale() {
		return
	}
	v.setRetryAfter(p)
	if v.PrefersJSON() {
		v.writeProblemJSON(p)
		return
	}
	if p.Status >= 500 && v.Request.Method == http.MethodGet {
		v.ReloadAfter = p.RetryAfter
	}
	// The error cancelled the calls that load the account. Repeat them, unless the logic tier
	// is overloaded or unavailable.
	v.Account = nil
	if p.Status < 500 && p.Status != http.StatusTooManyRequests && v.SignedIn() {
		v.setBudget(recoveryBudget)
		if v.FetchAll() != nil {
			v.Account = nil
		}
	}
	if err := v.Render(p.Status, problemPage(v, p)); err != nil {
		http.Error(v.Writer, p.Message, p.Status)
	}
}

// setRetryAfter sets the Retry-After header if p has a retry delay.
func (v *PageContext) setRetryAfter(p *logicclient.Problem) {
	if p.RetryAfter > 0 {
		v.Writer.Header().Set("Retry-After", seconds(p.RetryAfter))
	}
}

// seconds formats d in whole seconds, at least 1.
func seconds(d time.Duration) string {
	return strconv.Itoa(int(max(1, d.Round(time.Second).Seconds())))
}

// Timing is the time a page has taken so far, by tier.
type Timing struct {
	Web, Logic, Data             time.Duration
	WebHost, LogicHost, DataHost string
}

// Timing returns the time taken by each tier. Logic and Data are reported by the tiers
// themselves. Web is the rest, which includes network time.
func (v *PageContext) Timing() Timing {
	spent := v.times.Total()
	return Timing{
		Web: max(0, time.Since(v.start)-spent.Logic), Logic: max(0, spent.Logic-spent.Data), Data: spent.Data,
		WebHost: v.Site.Host, LogicHost: spent.LogicHost, DataHost: spent.DataHost,
	}
}

// header returns the value of the Server-Timing header (W3C Server Timing).
func (t Timing) header() string {
	return fmt.Sprintf("web;dur=%.2f, logic;dur=%.2f, data;dur=%.2f", logicclient.Milliseconds(t.Web), logicclient.Milliseconds(t.Logic), logicclient.Milliseconds(t.Data))
}
