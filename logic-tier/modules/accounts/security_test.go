package accounts_test

import (
	"context"
	"strings"
	"sync"
	"testing"

	"techtalks.example/logic-tier/platform/caller"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

const newPassword = "another battery, another staple"

// openSession opens a session and returns its token.
func (s *site) openSession(t *testing.T, r *accountspb.SignInRequest) string {
	t.Helper()
	response, err := s.SignIn(fromAddress(t, ""), r)
	if err != nil {
		t.Fatal(err)
	}
	return response.Session.Token
}

// asSession returns the context of a call made with a valid session.
func (s *site) asSession(t *testing.T, token string) context.Context {
	t.Helper()
	response, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return withSession(caller.With(t.Context(), caller.Call{
		Program: "web-tier", Session: response.SessionId, Person: &caller.Person{ID: response.Account.Id, Handle: response.Account.Handle},
	}), token)
}

// valid reports whether a session token is valid.
func (s *site) valid(t *testing.T, token string) bool {
	t.Helper()
	_, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: token})
	if err != nil {
		wantFailure(t, err, "SESSION_INVALID")
	}
	return err == nil
}

func TestChangePasswordEndsEveryOtherSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, grace := s.signUp(t, "ada"), s.signUp(t, "grace")
	other := s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: password})
	_, err := s.ChangePassword(s.asSession(t, first), &accountspb.ChangePasswordRequest{CurrentPassword: "a guess", NewPassword: newPassword})
	if f := wantFailure(t, err, "WRONG_PASSWORD"); f.Violations[0].Field != "current_password" {
		t.Errorf("got violations %v, want current_password", f.Violations)
	}
	if !s.valid(t, other) {
		t.Error("a wrong password ended a session")
	}
	if _, err := s.ChangePassword(s.asSession(t, first), &accountspb.ChangePasswordRequest{CurrentPassword: password, NewPassword: newPassword}); err != nil {
		t.Fatal(err)
	}
	if !s.valid(t, first) || s.valid(t, other) || !s.valid(t, grace) {
		t.Errorf("got valid: the calling session %t, the account's other %t, another account's %t; want true, false, true", s.valid(t, first), s.valid(t, other), s.valid(t, grace))
	}
	_, err = s.SignIn(fromAddress(t, ""), &accountspb.SignInRequest{Handle: "ada", Password: password})
	wantFailure(t, err, "WRONG_CREDENTIALS")
	s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: newPassword})
}

// A sign-in that checked the old password while it was being changed must not leave a
// session behind.
func TestConcurrentSignInsEndWithOldPassword(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	session := s.signUp(t, "ada")
	ctx := s.asSession(t, session)
	var opened sync.Map
	var signingIn sync.WaitGroup
	for range 4 {
		signingIn.Go(func() {
			for range 2 {
				if response, err := s.SignIn(fromAddress(t, ""), &accountspb.SignInRequest{Handle: "ada", Password: password}); err == nil {
					opened.Store(response.Session.Token, true)
				}
			}
		})
	}
	_, err := s.ChangePassword(ctx, &accountspb.ChangePasswordRequest{CurrentPassword: password, NewPassword: newPassword})
	signingIn.Wait()
	if err != nil {
		t.Fatal(err)
	}
	opened.Range(func(token, _ any) bool {
		if s.valid(t, token.(string)) {
			t.Error("a session opened with the old password is valid")
		}
		return true
	})
}

func TestGuessingPasswordWithinSessionIsLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx := s.asSession(t, s.signUp(t, "ada"))
	for range 10 {
		_, err := s.CloseAccount(ctx, &accountspb.CloseAccountRequest{Password: "a guess"})
		wantFailure(t, err, "WRONG_PASSWORD")
	}
	_, err := s.ChangePassword(ctx, &accountspb.ChangePasswordRequest{CurrentPassword: password, NewPassword: newPassword})
	wantFailure(t, err, "TOO_MANY_ATTEMPTS")
	s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: password}) // the owner can still sign in
}

func TestSessionsAreListedAndRevoked(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	session := s.signUp(t, "ada")
	phone := s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: password, UserAgent: strings.Repeat("é", 301)})
	grace := s.signUp(t, "grace")
	list, err := s.ListSessions(s.asSession(t, session), &accountspb.ListSessionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Sessions) != 2 {
		t.Fatalf("got sessions %v, want 2", list.Sessions)
	}
	for _, one := range list.Sessions {
		if one.Current == (one.UserAgent != "") || one.Current == (one.UserAgent == strings.Repeat("é", 300)) || !one.CreateTime.IsValid() || !one.UseTime.IsValid() {
			t.Errorf("got session %v", one)
		}
		if _, err := s.RevokeSession(s.asSession(t, grace), &accountspb.RevokeSessionRequest{Name: one.Name}); err != nil {
			t.Fatal(err)
		}
	}
	if !s.valid(t, session) || !s.valid(t, phone) {
		t.Fatal("another account revoked a session")
	}
	for _, one := range list.Sessions {
		if !one.Current {
			for range 2 {
				if _, err := s.RevokeSession(s.asSession(t, session), &accountspb.RevokeSessionRequest{Name: one.Name}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if !s.valid(t, session) || s.valid(t, phone) {
		t.Error("RevokeSession did not end the other session, and only that")
	}
	if _, err := s.SignOutEverywhere(s.asSession(t, session), &accountspb.SignOutEverywhereRequest{}); err != nil {
		t.Fatal(err)
	}
	if s.valid(t, session) || !s.valid(t, grace) {
		t.Error("signing out everywhere ended the wrong sessions")
	}
}

func TestSignInEndsReplacedSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, other := s.signUp(t, "ada"), s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: password})
	if _, err := s.SignIn(fromAddress(t, ""), &accountspb.SignInRequest{Handle: "ada", Password: "a guess", ReplacedSessionToken: first}); err == nil || !s.valid(t, first) {
		t.Fatalf("failed sign-in: got %v, want an error and the session still valid", err)
	}
	second := s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: password, ReplacedSessionToken: first})
	if s.valid(t, first) || !s.valid(t, second) || !s.valid(t, other) {
		t.Error("signing in did not end the replaced session, and only that")
	}
	response, err := s.SignUp(fromAddress(t, ""), &accountspb.SignUpRequest{Handle: "grace", Password: password, ReplacedSessionToken: second})
	if err != nil || s.valid(t, second) || !s.valid(t, response.Session.Token) {
		t.Errorf("signing up: got %v, want the replaced session ended", err)
	}
}

func TestVerifySessionUpdatesLastUse(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	session := s.signUp(t, "ada")
	admin := s.database.Superuser()
	if _, err := admin.Exec(`update accounts.session set used_at = now() - interval '1 day'`); err != nil {
		t.Fatal(err)
	}
	ctx := s.asSession(t, session)
	var recent bool
	if err := admin.QueryRow(`select used_at > now() - interval '1 hour' from accounts.session`).Scan(&recent); err != nil || !recent {
		t.Errorf("the last use time was not updated (error %v)", err)
	}
	response, err := s.CheckSessions(ctx, &accountspb.CheckSessionsRequest{SessionIds: []int64{caller.From(ctx).Session, 4711}})
	if err != nil || len(response.EndedSessionIds) != 1 || response.EndedSessionIds[0] != 4711 {
		t.Errorf("CheckSessions: got %v, %v; want session 4711 ended", response, err)
	}
}
