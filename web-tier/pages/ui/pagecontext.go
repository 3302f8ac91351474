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

// Visit is one request for a page.
type Visit struct {
	Site    *Site
	Writer  http.ResponseWriter
	Request *http.Request

	// Account is who is signed in, once Gather has returned; nil when nobody is.
	Account *accountspb.Account
	// Unread is how much of the account's inbox is unread, and Cursor from where
	// the page follows it.
	Unread int32
	Cursor string
	// Scripts and Styles are the assets that the page loads besides every page's.
	Scripts, Styles []string
	// Refresh makes the page load itself anew where there is no JavaScript.
	Refresh bool
	// Again makes the page load itself anew after so long, with JavaScript or
	// without; 0 for never.
	Again time.Duration

	ctx     context.Context
	end     context.CancelFunc
	began   time.Time
	times   *logicclient.Times
	session string
	caller  logicclient.Caller

	attached *attachment // with the form that Form read; nil for none
}

// Context is the request's, with its budget.
func (v *Visit) Context() context.Context { return v.ctx }

// budget gives the calls from here on so long, in the place of what was left.
func (v *Visit) budget(budget time.Duration) {
	if v.end != nil {
		v.end()
	}
	ctx, end := context.WithTimeout(logicclient.WithTimes(v.Request.Context(), v.times), budget)
	v.ctx, v.end = logicclient.WithCaller(ctx, v.caller), end
}

// Gather makes the page's calls, and those that tell who is signed in, side by
// side. A session that is not valid any more is taken from the browser, and the
// page is made as for anybody.
func (v *Visit) Gather(calls ...func(context.Context) error) error {
	err := v.gather(calls)
	if err == nil || v.session == "" {
		return err
	}
	if logicclient.Explain(err).Reason != "SESSION_INVALID" {
		return err
	}
	v.SignOut()
	v.session, v.caller.Session, v.Account = "", "", nil
	v.ctx = logicclient.WithCaller(v.ctx, v.caller)
	return v.gather(calls)
}

func (v *Visit) gather(calls []func(context.Context) error) error {
	defer v.times.Done()
	if v.session == "" && len(calls) == 1 {
		return calls[0](v.ctx) // most pages, most of the time
	}
	g, ctx := errgroup.WithContext(v.ctx)
	for _, call := range calls {
		g.Go(func() error { return call(ctx) })
	}
	if v.session != "" {
		g.Go(func() error {
			answer, err := v.Site.Tier.Accounts.GetCurrentAccount(ctx, &accountspb.GetCurrentAccountRequest{})
			v.Account = answer.GetAccount()
			return err
		})
		g.Go(func() error {
			answer, err := v.Site.Tier.Notifications.GetInbox(ctx, &notificationspb.GetInboxRequest{})
			v.Unread, v.Cursor = answer.GetUnreadCount(), answer.GetCursor()
			return err
		})
	}
	return g.Wait()
}

// Anonymous returns the visit's context without the session: a session that is
// over must not stand in the way of a new one.
func (v *Visit) Anonymous() context.Context {
	return logicclient.WithCaller(v.ctx, logicclient.Caller{Address: v.caller.Address})
}

// SignedIn says whether the browser sent a session. Whether it is valid shows
// when a call is made.
func (v *Visit) SignedIn() bool { return v.session != "" }

// AskToSignIn sends the browser to the sign-in page, and back here after it. A
// program is told.
func (v *Visit) AskToSignIn() error {
	if v.PrefersJSON() {
		return &logicclient.Problem{Status: http.StatusUnauthorized, Title: "Sign in first", Message: "Sign in, and send the session's cookie."}
	}
	next := v.Request.URL.RequestURI()
	if v.Request.Method == http.MethodPost {
		// What was posted is gone; the page it was posted from is there.
		next = "/"
		if from, err := url.Parse(v.Request.Referer()); err == nil && from.Host == v.Request.Host {
			next = LocalPath(from.RequestURI(), "/")
		}
	}
	return v.Redirect("/sign-in?next=" + url.QueryEscape(next))
}

// Redirect sends the browser to another page (303: with GET, whatever this was).
func (v *Visit) Redirect(to string) error {
	http.Redirect(v.Writer, v.Request, to, http.StatusSeeOther)
	return nil
}

// buffers hold pages until they are whole: a page that fails halfway is an
// error page, and its timing is known before its first byte.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxKept bounds the buffers that are kept for the next page.
const maxKept = 256 << 10

// Render answers with a page.
func (v *Visit) Render(status int, page templ.Component) error {
	buffer := buffers.Get().(*bytes.Buffer)
	buffer.Reset()
	defer func() {
		if buffer.Cap() <= maxKept {
			buffers.Put(buffer)
		}
	}()
	// Not v.ctx: its budget is for calls, and may be spent.
	if err := page.Render(v.Request.Context(), buffer); err != nil {
		return fmt.Errorf("render: %w", err)
	}
	if status == http.StatusOK && v.public() {
		v.Site.stale.keep(v.Request.URL.RequestURI(), buffer.Bytes(), time.Now())
	}
	h := v.Writer.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(buffer.Len()))
	h.Set("Server-Timing", v.Timing().header())
	if h.Get("Cache-Control") == "" {
		// A page shows who is signed in, and what is new.
		h.Set("Cache-Control", "private, no-cache")
	}
	v.Writer.WriteHeader(status)
	if v.Request.Method != http.MethodHead {
		_, _ = v.Writer.Write(buffer.Bytes()) // the browser may be gone
	}
	return nil
}

// statusGone is what the log says of a browser that left (nginx's number).
const statusGone = 499

// afterwards is what the calls have together that a page makes after one has
// failed: those that fill the page of the error or the form that is shown again.
// The budget of the page may be spent by then.
const afterwards = time.Second

// Fail answers with the page of an error.
func (v *Visit) Fail(err error) {
	p := logicclient.Explain(err)
	if v.Request.Context().Err() != nil {
		// The browser is gone: nobody reads it, and the log should not blame us.
		v.Writer.WriteHeader(statusGone)
		return
	}
	if v.Request.Method == http.MethodGet || v.Request.Method == http.MethodHead {
		p = p.OfResource()
	}
	if p.NeedsSession() && !v.PrefersJSON() {
		v.SignOut()
		_ = v.AskToSignIn()
		return
	}
	if p.Status >= 500 {
		server.Because(v.Request.Context(), err)
	}
	if passes(p) && v.standIn() {
		return
	}
	v.retryAfter(p)
	if v.PrefersJSON() {
		v.tellProblem(p)
		return
	}
	if p.Status >= 500 && v.Request.Method == http.MethodGet {
		v.Again = p.RetryAfter
	}
	// The first error ended the calls that tell who is signed in. They are made
	// again, unless it is the logic tier itself that cannot answer.
	v.Account = nil
	if p.Status < 500 && p.Status != http.StatusTooManyRequests && v.SignedIn() {
		v.budget(afterwards)
		if v.Gather() != nil {
			v.Account = nil
		}
	}
	if err := v.Render(p.Status, problemPage(v, p)); err != nil {
		http.Error(v.Writer, p.Message, p.Status)
	}
}

// retryAfter says when trying again makes sense.
func (v *Visit) retryAfter(p *logicclient.Problem) {
	if p.RetryAfter > 0 {
		v.Writer.Header().Set("Retry-After", seconds(p.RetryAfter))
	}
}

// seconds returns whole seconds, one at least.
func seconds(d time.Duration) string {
	return strconv.Itoa(int(max(1, d.Round(time.Second).Seconds())))
}

// Timing is where the time of a page went, so far.
type Timing struct {
	Web, Logic, Data             time.Duration
	WebHost, LogicHost, DataHost string
}

// Timing returns where the page's time went: Logic and Data as the tiers say
// themselves, Web is the rest, with what the calls took on their way.
func (v *Visit) Timing() Timing {
	spent := v.times.Total()
	return Timing{
		Web: max(0, time.Since(v.began)-spent.Logic), Logic: max(0, spent.Logic-spent.Data), Data: spent.Data,
		WebHost: v.Site.Host, LogicHost: spent.LogicHost, DataHost: spent.DataHost,
	}
}

// header returns the Server-Timing header (W3C Server Timing).
func (t Timing) header() string {
	return fmt.Sprintf("web;dur=%.2f, logic;dur=%.2f, data;dur=%.2f", logicclient.Milliseconds(t.Web), logicclient.Milliseconds(t.Logic), logicclient.Milliseconds(t.Data))
}
