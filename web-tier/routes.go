package main

import (
	"net/http"
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

// routes returns a mux with every route of the site. The logic tier decides who is allowed to
// do what; "signed in" below means that other visitors are asked to sign in first.
//
// Pages and forms pass through admit, which limits how many are in flight. Long polls and
// streams do not: a feed has limits of its own.
func routes(site *ui.Site, feeds feeds, admit func(http.Handler) http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range []struct {
		pattern string
		budget  time.Duration
		handle  ui.Handler
	}{
		// public
		{"GET /{$}", page, home.Get},
		{"GET /tiers", page, tiers.Get},
		{"GET /talks", page, talks.List},
		{"GET /channels", page, channels.List},
		{"GET /channels/{channel}", page, channels.Show},
		{"GET /channels/{channel}/talks/{talk}", page, talks.Show},
		{"GET /sign-up", page, account.SignUpForm},
		{"POST /sign-up", form, account.SignUp},
		{"GET /sign-in", page, account.SignInForm},
		{"POST /sign-in", form, account.SignIn},
		{"POST /sign-out", form, account.SignOut},
		{"GET /account/closed", page, account.Closed},
		// signed in
		{"GET /account", page, account.Show},
		{"POST /account/export", form, account.Export},
		{"POST /account/password", form, account.ChangePassword},
		{"POST /account/sessions/{session}/end", form, account.EndSession},
		{"POST /account/sign-out-everywhere", form, account.SignOutEverywhere},
		{"POST /account/close", form, account.CloseAccount},
		{"GET /inbox", page, inbox.Show},
		{"POST /inbox/read", form, inbox.Read},
		{"GET /studio", page, studio.Show},
		{"POST /channels", form, studio.CreateChannel},
		{"POST /studio/import", form, studio.Import},
		{"GET /operations", page, operations.List},
		{"GET /operations/{operation}", page, operations.Show},
		{"POST /operations/{operation}/cancel", form, operations.Cancel},
		{"POST /operations/{operation}/delete", form, operations.Delete},
		{"POST /channels/{channel}/follow", form, channels.Follow},
		{"POST /channels/{channel}/unfollow", form, channels.Unfollow},
		// signed in, as the channel's owner
		{"POST /channels/{channel}/talks", form, channels.Publish},
		{"POST /channels/{channel}/export", form, channels.Export},
		{"GET /channels/{channel}/talks/{talk}/edit", page, talks.Edit},
		{"POST /channels/{channel}/talks/{talk}/edit", form, talks.Save},
		{"POST /channels/{channel}/talks/{talk}/withdraw", form, talks.Withdraw},
		// signed in, as an operator; dead letters that reached no queue are under "unroutable"
		{"GET /queue", page, queue.Show},
		{"GET /queue/dead-letters", page, queue.ListDeadLetters},
		{"GET /queue/dead-letters/{queue}/{id}", page, queue.ShowDeadLetter},
		{"POST /queue/dead-letters/{queue}/redrive", form, queue.Redrive},
		{"GET /queue/dead-letters/{queue}/discard", page, queue.ConfirmDiscard},
		{"POST /queue/dead-letters/{queue}/discard", form, queue.Discard},
		{"GET /queue/tests", page, queue.Try},
		{"POST /queue/tests", form, queue.Send},
		{"GET /queue/tests/{test}", page, queue.ShowTest},
		// everything else
		{"/", page, func(v *ui.PageContext) error { return noRoute(mux, v) }},
	} {
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
