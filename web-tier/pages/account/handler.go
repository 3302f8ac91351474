// Package account serves the pages to sign up, sign in and manage an account.
package account

import (
	"context"
	"net/http"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	followingpb "techtalks.example/proto/techtalks/following/v1"
	"techtalks.example/web-tier/pages/ui"
)

// SignUpForm shows the sign-up form.
func SignUpForm(v *ui.PageContext) error {
	return v.Render(http.StatusOK, signUpPage(v, ui.Fields{Values: map[string]string{"next": v.Request.URL.Query().Get("next")}}))
}

// SignUp creates an account and signs it in.
func SignUp(v *ui.PageContext) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	response, err := v.Site.Tier.Accounts.SignUp(v.Anonymous(), &accountspb.SignUpRequest{
		Handle:      v.Request.PostFormValue("handle"),
		DisplayName: v.Request.PostFormValue("name"),
		Password:    v.Request.PostFormValue("password"),
		UserAgent:   userAgent(v), ReplacedSessionToken: v.Site.Session(v.Request),
	})
	if err != nil {
		f := v.Submitted("handle", "name", "password", "next")
		if f, status, ok := f.WithErrors(err, map[string]string{"display_name": "name"}); ok {
			return v.Render(status, signUpPage(v, f))
		}
		return err
	}
	v.SignIn(response.Session)
	return v.Redirect(ui.LocalPath(v.Request.PostFormValue("next"), "/"))
}

// SignInForm shows the sign-in form.
func SignInForm(v *ui.PageContext) error {
	return v.Render(http.StatusOK, signInPage(v, ui.Fields{Values: map[string]string{"next": v.Request.URL.Query().Get("next")}}))
}

// SignIn verifies the credentials and sets the session cookie.
func SignIn(v *ui.PageContext) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	response, err := v.Site.Tier.Accounts.SignIn(v.Anonymous(), &accountspb.SignInRequest{
		Handle:    v.Request.PostFormValue("handle"),
		Password:  v.Request.PostFormValue("password"),
		UserAgent: userAgent(v), ReplacedSessionToken: v.Site.Session(v.Request),
	})
	if err != nil {
		f := v.Submitted("handle", "password", "next")
		if f, status, ok := f.WithErrors(err, nil); ok {
			return v.Render(status, signInPage(v, f))
		}
		return err
	}
	v.SignIn(response.Session)
	return v.Redirect(ui.LocalPath(v.Request.PostFormValue("next"), "/"))
}

// SignOut revokes the session and deletes its cookie.
func SignOut(v *ui.PageContext) error {
	if v.SignedIn() {
		if _, err := v.Site.Tier.Accounts.SignOut(v.Context(), &accountspb.SignOutRequest{}); err != nil {
			return err
		}
	}
	v.SignOut()
	return v.Redirect("/")
}

// Show shows the account page: the channels it follows, its password and its sessions.
func Show(v *ui.PageContext) error {
	return show(v, http.StatusOK, ui.Fields{}, ui.Fields{})
}

// show shows the account page. passwordForm and closeForm hold submitted values and errors.
func show(v *ui.PageContext, status int, passwordForm, closeForm ui.Fields) error {
	var follows *followingpb.ListFollowsResponse
	var sessions *accountspb.ListSessionsResponse
	if err := v.FetchAll(func(ctx context.Context) (err error) {
		follows, err = v.Site.Tier.Following.ListFollows(ctx, &followingpb.ListFollowsRequest{PageToken: v.Request.URL.Query().Get("page_token")})
		return err
	}, func(ctx context.Context) (err error) {
		sessions, err = v.Site.Tier.Accounts.ListSessions(ctx, &accountspb.ListSessionsRequest{})
		return err
	}); err != nil {
		return err
	}
	return v.Render(status, showPage(v, follows, sessions.Sessions, passwordForm, closeForm))
}
