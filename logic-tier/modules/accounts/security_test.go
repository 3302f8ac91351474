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
	answer, err := s.SignIn(from(t, ""), r)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Session.Token
}

// as returns the context of a call made with a session that is valid.
func (s *site) as(t *testing.T, token string) context.Context {
	t.Helper()
	answer, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return with(caller.With(t.Context(), caller.Call{
		Program: "web-tier", Session: answer.SessionId, Person: &caller.Person{ID: answer.Account.Id, Handle: answer.Account.Handle},
	}), token)
}

func (s *site) valid(t *testing.T, token string) bool {
	t.Helper()
	_, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: token})
	if err != nil {
		wants(t, err, "SESSION_INVALID")
	}
	return err == nil
}

func TestChangePasswordEndsEveryOtherSession(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, stranger := s.signUp(t, "ada"), s.signUp(t, "grace")
	thief := s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: password})
	_, err := s.ChangePassword(s.as(t, first), &accountspb.ChangePasswordRequest{CurrentPassword: "a guess", NewPassword: newPassword})
	if f := wants(t, err, "WRONG_PASSWORD"); f.Violations[0].Field != "current_password" {
		t.Errorf("the refusal is about %v", f.Violations)
	}
	if !s.valid(t, thief) {
		t.Error("a wrong password ended a session")
	}
	if _, err := s.ChangePassword(s.as(t, first), &accountspb.ChangePasswordRequest{CurrentPassword: password, NewPassword: newPassword}); err != nil {
		t.Fatal(err)
	}
	if !s.valid(t, first) || s.valid(t, thief) || !s.valid(t, stranger) {
		t.Errorf("valid: own %t, other %t, another account's %t", s.valid(t, first), s.valid(t, thief), s.valid(t, stranger))
	}
	_, err = s.SignIn(from(t, ""), &accountspb.SignInRequest{Handle: "ada", Password: password})
	wants(t, err, "WRONG_CREDENTIALS")
	s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: newPassword})
}

// A sign-in that checked the old password while it was being changed must not leave
// a session behind.
func TestNoSessionOutlivesThePasswordItWasOpenedWith(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	own := s.signUp(t, "ada")
	ctx := s.as(t, own)
	var opened sync.Map
	var signingIn sync.WaitGroup
	for range 4 {
		signingIn.Go(func() {
			for range 2 {
				if answer, err := s.SignIn(from(t, ""), &accountspb.SignInRequest{Handle: "ada", Password: password}); err == nil {
					opened.Store(answer.Session.Token, true)
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
			t.Error("a session of the old password is valid")
		}
		return true
	})
}

func TestGuessingThePasswordFromWithinASessionIsLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx := s.as(t, s.signUp(t, "ada"))
	for range 10 {
		_, err := s.CloseAccount(ctx, &accountspb.CloseAccountRequest{Password: "a guess"})
		wants(t, err, "WRONG_PASSWORD")
	}
	_, err := s.ChangePassword(ctx, &accountspb.ChangePasswordRequest{CurrentPassword: password, NewPassword: newPassword})
	wants(t, err, "TOO_MANY_ATTEMPTS")
	s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: password}) // the owner still can
}

func TestSessionsAreListedAndEnded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	own := s.signUp(t, "ada")
	phone := s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: password, UserAgent: strings.Repeat("é", 301)})
	stranger := s.signUp(t, "grace")
	list, err := s.ListSessions(s.as(t, own), &accountspb.ListSessionsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Sessions) != 2 {
		t.Fatalf("listed %v", list.Sessions)
	}
	for _, one := range list.Sessions {
		if one.Current == (one.UserAgent != "") || one.Current == (one.UserAgent == strings.Repeat("é", 300)) || !one.CreateTime.IsValid() || !one.UseTime.IsValid() {
			t.Errorf("listed %v", one)
		}
		if _, err := s.RevokeSession(s.as(t, stranger), &accountspb.RevokeSessionRequest{Name: one.Name}); err != nil {
			t.Fatal(err)
		}
	}
	if !s.valid(t, own) || !s.valid(t, phone) {
		t.Fatal("somebody else ended a session")
	}
	for _, one := range list.Sessions {
		if !one.Current {
			for range 2 {
				if _, err := s.RevokeSession(s.as(t, own), &accountspb.RevokeSessionRequest{Name: one.Name}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if !s.valid(t, own) || s.valid(t, phone) {
		t.Error("not the other session ended")
	}
	if _, err := s.SignOutEverywhere(s.as(t, own), &accountspb.SignOutEverywhereRequest{}); err != nil {
		t.Fatal(err)
	}
	if s.valid(t, own) || !s.valid(t, stranger) {
		t.Error("signing out everywhere ended the wrong sessions")
	}
}

func TestSigningInAgainEndsTheSessionItReplaces(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, other := s.signUp(t, "ada"), s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: password})
	if _, err := s.SignIn(from(t, ""), &accountspb.SignInRequest{Handle: "ada", Password: "a guess", ReplacedSessionToken: first}); err == nil || !s.valid(t, first) {
		t.Fatalf("a sign-in that failed: %v", err)
	}
	second := s.openSession(t, &accountspb.SignInRequest{Handle: "ada", Password: password, ReplacedSessionToken: first})
	if s.valid(t, first) || !s.valid(t, second) || !s.valid(t, other) {
		t.Error("not the replaced session ended")
	}
	answer, err := s.SignUp(from(t, ""), &accountspb.SignUpRequest{Handle: "grace", Password: password, ReplacedSessionToken: second})
	if err != nil || s.valid(t, second) || !s.valid(t, answer.Session.Token) {
		t.Errorf("signing up: %v", err)
	}
}

func TestUseOfASessionIsNoted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	own := s.signUp(t, "ada")
	admin := s.database.Superuser()
	if _, err := admin.Exec(`update accounts.session set used_at = now() - interval '1 day'`); err != nil {
		t.Fatal(err)
	}
	ctx := s.as(t, own)
	var recent bool
	if err := admin.QueryRow(`select used_at > now() - interval '1 hour' from accounts.session`).Scan(&recent); err != nil || !recent {
		t.Errorf("not noted: %v", err)
	}
	answer, err := s.CheckSessions(ctx, &accountspb.CheckSessionsRequest{SessionIds: []int64{caller.From(ctx).Session, 4711}})
	if err != nil || len(answer.EndedSessionIds) != 1 || answer.EndedSessionIds[0] != 4711 {
		t.Errorf("ended: %v, %v", answer, err)
	}
}
