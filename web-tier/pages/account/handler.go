// Package account is how people sign up, in and out, and what they follow.
package account

import (
	"context"
	"net/http"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	"techtalks.example/web-tier/pages/ui"
)

// SignUpForm shows the form to sign up.
func SignUpForm(v *ui.Visit) error {
	return v.Render(http.StatusOK, signUpPage(v, ui.Fields{Values: map[string]string{"next": v.Request.URL.Query().Get("next")}}))
}

// SignUp makes an account and signs it in.
func SignUp(v *ui.Visit) error {
	if err := v.Form(); err != nil {
		return err
	}
	answer, err := v.Site.Tier.Accounts.SignUp(v.Anonymous(), &accountspb.SignUpRequest{
		Handle:      v.Request.PostFormValue("handle"),
		DisplayName: v.Request.PostFormValue("name"),
		Password:    v.Request.PostFormValue("password"),
		UserAgent:   userAgent(v), ReplacedSessionToken: v.Site.Session(v.Request),
	})
	if err != nil {
		f := v.Typed("handle", "name", "password", "next")
		if f, status, again := f.Refused(err, map[string]string{"display_name": "name"}); again {
			return v.Render(status, signUpPage(v, f))
		}
		return err
	}
	v.SignIn(answer.Session)
	return v.Redirect(ui.LocalPath(v.Request.PostFormValue("next"), "/"))
}

// SignInForm shows the form to sign in.
func SignInForm(v *ui.Visit) error {
	return v.Render(http.StatusOK, signInPage(v, ui.Fields{Values: map[string]string{"next": v.Request.URL.Query().Get("next")}}))
}

// SignIn gives the browser a session.
func SignIn(v *ui.Visit) error {
	if err := v.Form(); err != nil {
		return err
	}
	answer, err := v.Site.Tier.Accounts.SignIn(v.Anonymous(), &accountspb.SignInRequest{
		Handle:    v.Request.PostFormValue("handle"),
		Password:  v.Request.PostFormValue("password"),
		UserAgent: userAgent(v), ReplacedSessionToken: v.Site.Session(v.Request),
	})
	if err != nil {
		f := v.Typed("handle", "password", "next")
		if f, status, again := f.Refused(err, nil); again {
			return v.Render(status, signInPage(v, f))
		}
		return err
	}
	v.SignIn(answer.Session)
	return v.Redirect(ui.LocalPath(v.Request.PostFormValue("next"), "/"))
}

// SignOut revokes the session and takes it from the browser.
func SignOut(v *ui.Visit) error {
	if v.SignedIn() {
		if _, err := v.Site.Tier.Accounts.SignOut(v.Context(), &accountspb.SignOutRequest{}); err != nil {
			return err
		}
	}
	v.SignOut()
	return v.Redirect("/")
}

// Show shows the account: the channels it follows, its password and its sessions.
func Show(v *ui.Visit) error {
	if !v.SignedIn() {
		return v.AskToSignIn()
	}
	return show(v, http.StatusOK, ui.Fields{}, ui.Fields{})
}

// show shows the account with its two forms as they were sent.
func show(v *ui.Visit, status int, password, closing ui.Fields) error {
	var follows *followingpb.ListFollowsResponse
	var sessions *accountspb.ListSessionsResponse
	if err := v.Gather(func(ctx context.Context) (err error) {
		follows, err = v.Site.Tier.Following.ListFollows(ctx, &followingpb.ListFollowsRequest{PageToken: v.Request.URL.Query().Get("page_token")})
		return err
	}, func(ctx context.Context) (err error) {
		sessions, err = v.Site.Tier.Accounts.ListSessions(ctx, &accountspb.ListSessionsRequest{})
		return err
	}); err != nil {
		return err
	}
	return v.Render(status, showPage(v, follows, sessions.Sessions, password, closing))
}
