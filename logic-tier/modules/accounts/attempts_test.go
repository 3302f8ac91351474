package accounts_test

import (
	"fmt"
	"testing"

	"techtalks.example/logic-tier/platform/caller"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/proto/transport"
)

// signIn signs in with a handle and password from a browser's address.
func (s *site) signIn(t *testing.T, handle, password, address string) error {
	_, err := s.SignIn(from(t, address), &accountspb.SignInRequest{Handle: handle, Password: password})
	return err
}

// count sets how many attempts are counted under the keys that match a pattern.
func (s *site) count(t *testing.T, attempts int, pattern string) {
	t.Helper()
	result, err := s.database.Superuser().Exec(`update accounts.attempt set count = $1 where key like $2`, attempts, pattern)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%d keys match %q (%v)", n, pattern, err)
	}
}

func TestGuessingOnePasswordIsLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	s.signUp(t, "bob")
	for range 10 {
		wants(t, s.signIn(t, "ada", "something else", "192.0.2.1"), "WRONG_CREDENTIALS")
	}
	// The right password does not help: a guesser learns nothing.
	if f := wants(t, s.signIn(t, "Ada", password, "192.0.2.1"), "TOO_MANY_ATTEMPTS"); f.RetryAfter <= 0 {
		t.Error("the refusal does not say when to try again")
	}
	if err := s.signIn(t, "bob", password, "192.0.2.1"); err != nil {
		t.Errorf("somebody else at the same address: %v", err)
	}
	if err := s.signIn(t, "ada", password, "192.0.2.2"); err != nil {
		t.Errorf("the person at another address is locked out: %v", err)
	}
	if _, err := s.database.Superuser().Exec(`update accounts.attempt set began_at = began_at - interval '15 minutes'`); err != nil {
		t.Fatal(err)
	}
	if err := s.signIn(t, "ada", password, "192.0.2.1"); err != nil {
		t.Errorf("after the window: %v", err)
	}
}

func TestGuessingFromManyAddressesSlowsDownAndLocksNobodyOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	wants(t, s.signIn(t, "ada", "something else", "192.0.2.1"), "WRONG_CREDENTIALS")
	s.count(t, 1000, "sign-in handle ada")
	wants(t, s.signIn(t, "ada", "something else", "192.0.2.1"), "WRONG_CREDENTIALS")
	wants(t, s.signIn(t, "ada", "something else", "192.0.2.1"), "TOO_MANY_ATTEMPTS")
	wants(t, s.signIn(t, "ada", "a typing error", "192.0.2.2"), "WRONG_CREDENTIALS")
	for range 5 {
		if err := s.signIn(t, "ada", password, "192.0.2.2"); err != nil {
			t.Errorf("the person at an address of their own: %v", err)
		}
	}
}

func TestGuessingFromOneAddressIsLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	wants(t, s.signIn(t, "bob", password, "192.0.2.1"), "WRONG_CREDENTIALS")
	// 98 more, of as many handles: hashing each would take its time.
	s.count(t, 99, "sign-in address 192.0.2.1")
	wants(t, s.signIn(t, "eve", password, "192.0.2.1"), "WRONG_CREDENTIALS")
	wants(t, s.signIn(t, "ada", password, "192.0.2.1"), "TOO_MANY_ATTEMPTS")
	if err := s.signIn(t, "ada", password, "192.0.2.2"); err != nil {
		t.Errorf("from another address: %v", err)
	}
	var handles int
	if err := s.database.Superuser().QueryRow(`select count(*) from accounts.attempt where key like 'sign-in pair 192.0.2.1 %'`).Scan(&handles); err != nil {
		t.Fatal(err)
	}
	if handles != 2 {
		t.Errorf("%d handles are counted for the address, want 2: none of those refused", handles)
	}
}

func TestSuccessfulSignInsOfAnAccountAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	for i := range 15 {
		if err := s.signIn(t, "ada", password, "192.0.2.1"); err != nil {
			t.Fatalf("sign-in %d: %v", i+1, err)
		}
	}
	s.count(t, 49, "sign-ins account ada")
	for range 3 { // do not count
		wants(t, s.signIn(t, "ada", "something else", "192.0.2.66"), "WRONG_CREDENTIALS")
	}
	if err := s.signIn(t, "ada", password, "192.0.2.1"); err != nil {
		t.Errorf("the 50th: %v", err)
	}
	for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
		if f := wants(t, s.signIn(t, "ada", password, address), "TOO_MANY_ATTEMPTS"); f.RetryAfter <= 0 {
			t.Error("the refusal does not say when to try again")
		}
	}
}

func TestSuccessfulSignInsFromAnAddressAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	s.signUp(t, "bob")
	if err := s.signIn(t, "ada", password, "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	s.count(t, 299, "sign-ins address 192.0.2.1")
	if err := s.signIn(t, "ada", password, "192.0.2.1"); err != nil {
		t.Errorf("the 300th: %v", err)
	}
	wants(t, s.signIn(t, "bob", password, "192.0.2.1"), "TOO_MANY_ATTEMPTS")
	if err := s.signIn(t, "bob", password, "192.0.2.2"); err != nil {
		t.Errorf("from another address: %v", err)
	}
}

func TestHandleOfAnOperatorIsNotFree(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	request := &accountspb.SignUpRequest{Handle: "boss", Password: password}
	if _, err := s.SignUp(from(t, "192.0.2.1"), request); err == nil {
		t.Fatal("a stranger became an operator")
	} else {
		wants(t, err, "HANDLE_TAKEN")
	}
	if err := s.signIn(t, "boss", password, "192.0.2.1"); err == nil {
		t.Error("the refused sign-up left an account")
	}
	operator := caller.With(t.Context(), caller.Call{Program: transport.Operator})
	answer, err := s.SignUp(operator, request)
	if err != nil || !answer.Session.Account.Operator {
		t.Errorf("the operator's program gets %v, %v", answer, err)
	}
	for i, handle := range []string{"bos", "boss-1", "the-boss"} {
		answer, err := s.SignUp(from(t, fmt.Sprintf("192.0.2.%d", i)), &accountspb.SignUpRequest{Handle: handle, Password: password})
		if err != nil || answer.Session.Account.Operator {
			t.Errorf("%s gets %v, %v", handle, answer, err)
		}
	}
}
