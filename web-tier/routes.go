package main

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"techtalks.example/web-tier/assets"
	"techtalks.example/web-tier/pages/account"
	"techtalks.example/web-tier/pages/channels"
	"techtalks.example/web-tier/pages/home"
	"techtalks.example/web-tier/pages/inbox"
	"techtalks.example/web-tier/pages/operations"
	"techtalks.example/web-tier/pages/queue"
	"techtalks.example/web-tier/pages/studio"
	"techtalks.example/web-tier/pages/talks"
	"techtalks.example/web-tier/pages/tiers"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/downloads"
	"techtalks.example/web-tier/platform/live"
	"techtalks.example/web-tier/platform/logicclient"
)

// Time budgets of requests. Streams have a maximum lifetime instead; see package live.
const (
	page = logicclient.PageBudget
	form = logicclient.FormBudget
)

// feeds holds the feeds that clients can subscribe to.
type feeds struct{ inbox, operations, queues *live.Feed }

// access says who can use a route.
type access string

// All but anyone need a session, without which the client is asked to sign in. Whether the
// account is the channel's owner, or an operator, is for the logic tier to decide.
const (
	anyone   access = "anyone"
	signedIn access = "a signed-in account"
	owner    access = "the channel's owner"
	operator access = "an operator"
)

// route is a page or a form.
type route struct {
	pattern string
	who     access
	budget  time.Duration
	handle  ui.Handler
}

// pages are the routes of pages and forms.
var pages = []route{
	{"GET /{$}", anyone, page, home.Get},
	{"GET /tiers", anyone, page, tiers.Get},
	{"GET /talks", anyone, page, talks.List},
	{"GET /channels", anyone, page, channels.List},
	{"GET /channels/{channel}", anyone, page, channels.Show},
	{"GET /channels/{channel}/talks/{talk}", anyone, page, talks.Show},
	{"GET /sign-up", anyone, page, account.SignUpForm},
	{"POST /sign-up", anyone, form, account.SignUp},
	{"GET /sign-in", anyone, page, account.SignInForm},
	{"POST /sign-in", anyone, form, account.SignIn},
	{"POST /sign-out", anyone, form, account.SignOut},
	{"GET /account/closed", anyone, page, account.Closed},
	{"GET /account", signedIn, page, account.Show},
	{"POST /account/export", signedIn, form, account.Export},
	{"POST /account/password", signedIn, form, account.ChangePassword},
	{"POST /account/sessions/{session}/end", signedIn, form, account.EndSession},
	{"POST /account/sign-out-everywhere", signedIn, form, account.SignOutEverywhere},
	{"POST /account/close", signedIn, form, account.CloseAccount},
	{"GET /inbox", signedIn, page, inbox.Show},
	{"POST /inbox/read", signedIn, form, inbox.Read},
	{"GET /studio", signedIn, page, studio.Show},
	{"POST /channels", signedIn, form, studio.CreateChannel},
	{"POST /studio/import", signedIn, form, studio.Import},
	{"GET /operations", signedIn, page, operations.List},
	{"GET /operations/{operation}", signedIn, page, operations.Show},
	{"POST /operations/{operation}/cancel", signedIn, form, operations.Cancel},
	{"POST /operations/{operation}/delete", signedIn, form, operations.Delete},
	{"POST /channels/{channel}/follow", signedIn, form, channels.Follow},
	{"POST /channels/{channel}/unfollow", signedIn, form, channels.Unfollow},
	{"POST /channels/{channel}/talks", owner, form, channels.Publish},
	{"POST /channels/{channel}/export", owner, form, channels.Export},
	{"GET /channels/{channel}/talks/{talk}/edit", owner, page, talks.Edit},
	{"POST /channels/{channel}/talks/{talk}/edit", owner, form, talks.Save},
	{"POST /channels/{channel}/talks/{talk}/withdraw", owner, form, talks.Withdraw},
	// dead letters that reached no queue are under "unroutable"
	{"GET /queue", operator, page, queue.Show},
	{"GET /queue/dead-letters", operator, page, queue.ListDeadLetters},
	{"GET /queue/dead-letters/{queue}/{id}", operator, page, queue.ShowDeadLetter},
	{"POST /queue/dead-letters/{queue}/redrive", operator, form, queue.Redrive},
	{"GET /queue/dead-letters/{queue}/discard", operator, page, queue.ConfirmDiscard},
	{"POST /queue/dead-letters/{queue}/discard", operator, form, queue.Discard},
	{"GET /queue/tests", operator, page, queue.Try},
	{"POST /queue/tests", operator, form, queue.Send},
	{"GET /queue/tests/{test}", operator, page, queue.ShowTest},
}

// routes returns a mux with every route of the site.
//
// Pages and forms pass through admit, which limits how many are in flight. Long polls and
// streams do not: a feed has limits of its own.
func routes(site *ui.Site, feeds feeds, admit func(http.Handler) http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	unrouted := route{"/", anyone, page, func(v *ui.PageContext) error { return noRoute(mux, v) }}
	for _, r := range append(slices.Clone(pages), unrouted) {
		if r.who != anyone {
			r.handle = ui.RequireSession(r.handle)
		}
		mux.Handle(r.pattern, admit(site.Page(r.budget, r.handle)))
	}
	// Short polls, long polls and streams: signed in, for the queue as an operator. The short
	// poll of an operation is its page as JSON.
	for _, r := range []struct {
		pattern string
		handle  func(w http.ResponseWriter, r *http.Request, session, key string)
	}{
		{"GET /inbox/since", feeds.inbox.Since},
		{"GET /inbox/wait", feeds.inbox.Wait},
		{"GET /inbox/stream", feeds.inbox.Stream},
		{"GET /operations/{operation}/wait", feeds.operations.Wait},
		{"GET /operations/{operation}/stream", feeds.operations.Stream},
		{"GET /queue/stream", feeds.queues.Stream},
	} {
		mux.HandleFunc(r.pattern, func(w http.ResponseWriter, request *http.Request) {
			key := ""
			if id := request.PathValue("operation"); id != "" {
				key = "operations/" + id
			}
			r.handle(w, request, site.Session(request), key)
		})
	}
	// Files: uploads with the tus protocol, downloads with range requests.
	tus := site.Uploads.Handler(site.Caller)
	for _, pattern := range []string{
		"POST /uploads", "OPTIONS /uploads", "POST /uploads/{upload}", "OPTIONS /uploads/{upload}",
		"HEAD /uploads/{upload}", "PATCH /uploads/{upload}", "DELETE /uploads/{upload}",
	} {
		mux.Handle(pattern, tus)
	}
	files := downloads.New(site.Tier.Media, site.Caller, site.Refuse)
	mux.HandleFunc("GET /recordings/{recording}/{file}", files.Recording)
	mux.HandleFunc("GET /files/{upload}", files.Upload)
	mux.HandleFunc("GET /assets/{name}", func(w http.ResponseWriter, r *http.Request) {
		if !assets.Serve(w, r) {
			site.Refuse(w, r, notFound)
		}
	})
	return mux
}

// noRoute handles requests that no other pattern matches: 405 if the address supports other
// methods, otherwise 404.
func noRoute(mux *http.ServeMux, v *ui.PageContext) error {
	if allowed := allowedMethods(mux, v.Request); len(allowed) > 0 {
		v.Writer.Header().Set("Allow", strings.Join(allowed, ", "))
		return &logicclient.Problem{Status: http.StatusMethodNotAllowed, Title: "That address doesn't take this request",
			Message: "Use the buttons and forms of the page instead of opening this address directly."}
	}
	if err := v.FetchAll(); err != nil {
		return err
	}
	return notFound
}

var notFound = &logicclient.Problem{Status: http.StatusNotFound, Title: "Not found", Message: "There is nothing at this address."}

// allowedMethods returns the methods that the address of a request supports.
func allowedMethods(mux *http.ServeMux, r *http.Request) (allowed []string) {
	for _, method := range []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST"} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "/" {
			allowed = append(allowed, method)
		}
	}
	return allowed
}
