package account_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"google.golang.org/grpc/codes"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/web-tier/pages/pagetest"
	"techtalks.example/web-tier/platform/logictest"
)

func TestSignInReplacesPreviousSession(t *testing.T) {
	b := open(t, false).With("before")
	b.Post("/sign-in", url.Values{"handle": {"ada"}, "password": {"right"}}).RedirectsTo("/")
	calls := b.Logic.Calls(accountspb.Accounts_SignIn_FullMethodName)
	if len(calls) != 1 || calls[0].Session != "" || calls[0].Request.(*accountspb.SignInRequest).ReplacedSessionToken != "before" {
		t.Errorf("got calls %v, want one without a session that replaces the session before", calls)
	}
}

func TestChangePassword(t *testing.T) {
	b := open(t, false).With(logictest.Session)
	logictest.Answer(b.Logic, accountspb.Accounts_ChangePassword_FullMethodName, func(_ context.Context, q *accountspb.ChangePasswordRequest) (*accountspb.ChangePasswordResponse, error) {
		if q.CurrentPassword != "right" {
			return nil, logictest.Refusal(codes.InvalidArgument, "WRONG_PASSWORD", "bad", "current_password", "this is not your current password")
		}
		return &accountspb.ChangePasswordResponse{}, nil
	})
	b.Post("/account/password", url.Values{"current_password": {"hunter2-hunter2"}, "new_password": {"hunter3-hunter3"}}).
		Is(http.StatusUnprocessableEntity, "This is not your current password.", `aria-invalid="true"`).Lacks("hunter2", "hunter3")
	b.Post("/account/password", url.Values{"current_password": {"right"}, "new_password": {"hunter3-hunter3"}}).RedirectsTo("/account?changed=password#change-password")
	b.Get("/account?changed=password").Is(http.StatusOK, "Password changed. Your other sessions have been signed out.")
	b.With("").Post("/account/password", nil).RedirectsTo("/sign-in?next=%2F")
}

func TestSessionsAreListedAndRevoked(t *testing.T) {
	b := open(t, false).With(logictest.Session)
	b.Get("/account").Is(http.StatusOK, "Firefox on Linux", "This browser", "Edge on Windows", "&lt;b&gt;bot", "Unknown browser", `action="/account/sessions/8/end"`).
		Lacks(`action="/account/sessions/7/end"`, "<b>bot")
	revoked := ""
	logictest.Answer(b.Logic, accountspb.Accounts_RevokeSession_FullMethodName, func(_ context.Context, q *accountspb.RevokeSessionRequest) (*accountspb.RevokeSessionResponse, error) {
		revoked = q.Name
		return &accountspb.RevokeSessionResponse{}, nil
	})
	b.Post("/account/sessions/8/end", nil).RedirectsTo("/account#sessions")
	if revoked != "sessions/8" {
		t.Errorf("revoked %q, want sessions/8", revoked)
	}
	logictest.Answer(b.Logic, accountspb.Accounts_SignOutEverywhere_FullMethodName, func(context.Context, *accountspb.SignOutEverywhereRequest) (*accountspb.SignOutEverywhereResponse, error) {
		return &accountspb.SignOutEverywhereResponse{}, nil
	})
	wantSignedOut(t, b, b.Post("/account/sign-out-everywhere", nil), "/sign-in")
}

// wantSignedOut fails the test unless p redirects to location and deletes the session cookie.
func wantSignedOut(t *testing.T, b *pagetest.Browser, p *pagetest.Page, location string) {
	t.Helper()
	p.RedirectsTo(location)
	if cookie := p.Cookie(b.SessionCookie("").Name); cookie == nil || cookie.Value != "" || cookie.MaxAge >= 0 {
		t.Errorf("got cookie %v, want a deleted one", cookie)
	}
}

func TestCloseAccount(t *testing.T) {
	b := open(t, false).With(logictest.Session)
	logictest.Answer(b.Logic, accountspb.Accounts_CloseAccount_FullMethodName, func(_ context.Context, q *accountspb.CloseAccountRequest) (*accountspb.CloseAccountResponse, error) {
		if q.Password != "right" {
			return nil, logictest.Refusal(codes.InvalidArgument, "WRONG_PASSWORD", "bad", "password", "this is not your password")
		}
		return &accountspb.CloseAccountResponse{}, nil
	})
	b.Post("/account/close", url.Values{"password": {"hunter2-hunter2"}}).Is(http.StatusUnprocessableEntity, "This is not your password.").Lacks("hunter2")
	wantSignedOut(t, b, b.Post("/account/close", url.Values{"password": {"right"}}), "/account/closed")
	b.With("").Get("/account/closed").Is(http.StatusOK, "You have been signed out everywhere.")
}

func TestPasswordFormWorksWithoutJavaScript(t *testing.T) {
	b := open(t, false).With(logictest.Session)
	logictest.Answer(b.Logic, accountspb.Accounts_ChangePassword_FullMethodName, func(_ context.Context, q *accountspb.ChangePasswordRequest) (*accountspb.ChangePasswordResponse, error) {
		if q.CurrentPassword != "right" {
			return nil, logictest.Refusal(codes.InvalidArgument, "WRONG_PASSWORD", "bad", "current_password", "this is not your current password")
		}
		return &accountspb.ChangePasswordResponse{}, nil
	})
	tab := b.Tab().WithoutScripts()
	tab.Open("/account")
	tab.Screenshot("account")
	tab.Fill("#current_password", "wrong")
	tab.Fill("#new_password", "hunter3-hunter3")
	tab.Click("#password-form button")
	tab.Until(`document.body.innerText.includes("This is not your current password.")`)
	tab.Screenshot("account-wrong")
	tab.Fill("#current_password", "right")
	tab.Fill("#new_password", "hunter3-hunter3")
	tab.Click("#password-form button")
	tab.Until(`document.body.innerText.includes("Password changed.")`)
	tab.Screenshot("account-changed")
}
