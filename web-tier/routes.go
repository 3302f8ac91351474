package main

import (
	"net/http"
	"time"

	"techtalks.example/web-tier/assets"
	"techtalks.example/web-tier/live"
	"techtalks.example/web-tier/logic"
	"techtalks.example/web-tier/pages/account"
	"techtalks.example/web-tier/pages/channels"
	"techtalks.example/web-tier/pages/home"
	"techtalks.example/web-tier/pages/inbox"
	"techtalks.example/web-tier/pages/studio"
	"techtalks.example/web-tier/pages/talks"
	"techtalks.example/web-tier/pages/tiers"
	"techtalks.example/web-tier/pages/ui"
)

// Classes of requests, by how long they may take. A stream has no budget but
// its own lifetime; see package live.
const (
	page = logic.PageBudget
	form = logic.FormBudget
)

// routes is every address of the site. Who may do what is the logic tier's to
// say; "signed in" here means that others are asked to sign in first.
//
// Pages pass through admit, which bounds how many are under way; streams do not.
func routes(site *ui.Site, followed *live.Inbox, admit func(http.Handler) http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	for _, r := range []struct {
		pattern string
		class   time.Duration
		handle  ui.Handler
	}{
		// anybody
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
		// signed in
		{"GET /account", page, account.Show},
		{"GET /inbox", page, inbox.Show},
		{"POST /inbox/read", form, inbox.Read},
		{"GET /studio", page, studio.Show},
		{"POST /channels", form, studio.CreateChannel},
		{"POST /channels/{channel}/follow", form, channels.Follow},
		{"POST /channels/{channel}/unfollow", form, channels.Unfollow},
		// signed in, and the channel is theirs
		{"POST /channels/{channel}/talks", form, channels.Publish},
		{"GET /channels/{channel}/talks/{talk}/edit", page, talks.Edit},
		{"POST /channels/{channel}/talks/{talk}/edit", form, talks.Save},
		{"POST /channels/{channel}/talks/{talk}/withdraw", form, talks.Withdraw},
		// nowhere
		{"GET /", page, notFound},
	} {
		mux.Handle(r.pattern, admit(site.Page(r.class, r.handle)))
	}
	// streams: signed in
	mux.HandleFunc("GET /inbox/stream", func(w http.ResponseWriter, r *http.Request) {
		session := site.Session(r)
		if session == "" {
			http.Error(w, "sign in to follow your inbox", http.StatusUnauthorized)
			return
		}
		followed.Stream(w, r, session)
	})
	mux.HandleFunc("GET /assets/{name}", assets.Serve)
	return mux
}

func notFound(v *ui.Visit) error {
	if err := v.Gather(); err != nil {
		return err
	}
	return &logic.Problem{Status: http.StatusNotFound, Title: "Not found", Message: "There is nothing at this address."}
}
