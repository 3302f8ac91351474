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
	_, err := s.SignIn(fromAddress(t, address), &accountspb.SignInRequest{Handle: handle, Password: password})
	return err
}

// setCount sets the number of attempts counted under the one key that matches a pattern.
func (s *site) setCount(t *testing.T, attempts int, pattern string) {
	t.Helper()
	result, err := s.database.Superuser().Exec(`update accounts.attempt set count = $1 where key like $2`, attempts, pattern)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("got %d keys that match %q, %v; want 1", n, pattern, err)
	}
}

func TestGuessingOnePasswordIsLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	s.signUp(t, "bob")
	for range 10 {
		wantFailure(t, s.signIn(t, "ada", "something else", "192.0.2.1"), "WRONG_CREDENTIALS")
	}
	// The right password is rejected too, so that an attacker learns nothing.
	if f := wantFailure(t, s.signIn(t, "Ada", password, "192.0.2.1"), "TOO_MANY_ATTEMPTS"); f.RetryAfter <= 0 {
		t.Error("got no retry delay")
	}
	if err := s.signIn(t, "bob", password, "192.0.2.1"); err != nil {
		t.Errorf("another account at the same address: %v", err)
	}
	if err := s.signIn(t, "ada", password, "192.0.2.2"); err != nil {
		t.Errorf("the owner at another address: %v", err)
	}
	if _, err := s.database.Superuser().Exec(`update accounts.attempt set began_at = began_at - interval '15 minutes'`); err != nil {
		t.Fatal(err)
	}
	if err := s.signIn(t, "ada", password, "192.0.2.1"); err != nil {
		t.Errorf("after the window: %v", err)
	}
}

func TestGuessingFromManyAddressesIsLimitedWithoutLockingOwnerOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	wantFailure(t, s.signIn(t, "ada", "something else", "192.0.2.1"), "WRONG_CREDENTIALS")
	s.setCount(t, 1000, "sign-in handle ada")
	wantFailure(t, s.signIn(t, "ada", "something else", "192.0.2.1"), "WRONG_CREDENTIALS")
	wantFailure(t, s.signIn(t, "ada", "something else", "192.0.2.1"), "TOO_MANY_ATTEMPTS")
	wantFailure(t, s.signIn(t, "ada", "a typing error", "192.0.2.2"), "WRONG_CREDENTIALS")
	for range 5 {
		if err := s.signIn(t, "ada", password, "192.0.2.2"); err != nil {
			t.Errorf("the owner at another address: %v", err)
		}
	}
}

func TestGuessingFromOneAddressIsLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	wantFailure(t, s.signIn(t, "bob", password, "192.0.2.1"), "WRONG_CREDENTIALS")
	// Stands for 98 more handles: hashing a password for each would take too long.
	s.setCount(t, 99, "sign-in address 192.0.2.1")
	wantFailure(t, s.signIn(t, "eve", password, "192.0.2.1"), "WRONG_CREDENTIALS")
	wantFailure(t, s.signIn(t, "ada", password, "192.0.2.1"), "TOO_MANY_ATTEMPTS")
	if err := s.signIn(t, "ada", password, "192.0.2.2"); err != nil {
		t.Errorf("from another address: %v", err)
	}
	var handles int
	if err := s.database.Superuser().QueryRow(`select count(*) from accounts.attempt where key like 'sign-in pair 192.0.2.1 %'`).Scan(&handles); err != nil {
		t.Fatal(err)
	}
	if handles != 2 {
		t.Errorf("got %d handles counted for the address, want 2, without the rejected ones", handles)
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
	s.setCount(t, 49, "sign-ins account ada")
	for range 3 { // failures do not count
		wantFailure(t, s.signIn(t, "ada", "something else", "192.0.2.66"), "WRONG_CREDENTIALS")
	}
	if err := s.signIn(t, "ada", password, "192.0.2.1"); err != nil {
		t.Errorf("sign-in 50: %v", err)
	}
	for _, address := range []string{"192.0.2.1", "192.0.2.2"} {
		if f := wantFailure(t, s.signIn(t, "ada", password, address), "TOO_MANY_ATTEMPTS"); f.RetryAfter <= 0 {
			t.Error("got no retry delay")
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
	s.setCount(t, 299, "sign-ins address 192.0.2.1")
	if err := s.signIn(t, "ada", password, "192.0.2.1"); err != nil {
		t.Errorf("sign-in 300: %v", err)
	}
	wantFailure(t, s.signIn(t, "bob", password, "192.0.2.1"), "TOO_MANY_ATTEMPTS")
	if err := s.signIn(t, "bob", password, "192.0.2.2"); err != nil {
		t.Errorf("from another address: %v", err)
	}
}

func TestOperatorHandleIsReserved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	request := &accountspb.SignUpRequest{Handle: "boss", Password: password}
	if _, err := s.SignUp(fromAddress(t, "192.0.2.1"), request); err == nil {
		t.Fatal("got no error, want the operator's handle rejected")
	} else {
		wantFailure(t, err, "HANDLE_TAKEN")
	}
	if err := s.signIn(t, "boss", password, "192.0.2.1"); err == nil {
		t.Error("the rejected sign-up created an account")
	}
	operator := caller.With(t.Context(), caller.Call{Program: transport.Operator})
	response, err := s.SignUp(operator, request)
	if err != nil || !response.Session.Account.Operator {
		t.Errorf("sign-up by the operator's program: got %v, %v", response, err)
	}
	for i, handle := range []string{"bos", "boss-1", "the-boss"} {
		response, err := s.SignUp(fromAddress(t, fmt.Sprintf("192.0.2.%d", i)), &accountspb.SignUpRequest{Handle: handle, Password: password})
		if err != nil || response.Session.Account.Operator {
			t.Errorf("%s: got %v, %v; want an account without operator rights", handle, response, err)
		}
	}
}
