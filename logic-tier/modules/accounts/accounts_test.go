package accounts_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"techtalks.example/logic-tier/modules/accounts"
	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/proto/transport"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

const password = "correct horse battery staple"

// site is the module with its own database.
type site struct {
	accountspb.AccountsServer
	database *postgrestest.Database
	module   *accounts.Module
}

func (s *site) RegisterService(_ *grpc.ServiceDesc, service any) {
	s.AccountsServer = service.(accountspb.AccountsServer)
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{database: postgrestest.New(t)}
	s.module = accounts.New(accounts.Deps{DB: s.database.Open("accounts"), Operators: []string{"boss"}, Log: slog.New(slog.DiscardHandler)})
	s.module.Register(s)
	return s
}

// fromAddress returns the context of a call from a browser's address.
func fromAddress(t *testing.T, address string) context.Context {
	return caller.With(t.Context(), caller.Call{Program: transport.WebTier, Address: address})
}

// withSession returns the context of a call made with a session token.
func withSession(ctx context.Context, token string) context.Context {
	return metadata.NewIncomingContext(ctx, metadata.Pairs(transport.SessionKey, token))
}

// signUp creates an account and returns its session's token.
func (s *site) signUp(t *testing.T, handle string) string {
	t.Helper()
	response, err := s.SignUp(fromAddress(t, ""), &accountspb.SignUpRequest{Handle: handle, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	return response.Session.Token
}

// wantFailure fails the test unless err is a failure with the given reason.
func wantFailure(t *testing.T, err error, reason string) *apperror.Failure {
	t.Helper()
	var f *apperror.Failure
	if !errors.As(err, &f) || f.Reason != reason {
		t.Fatalf("got %v, want %s", err, reason)
	}
	return f
}

func TestSessionFromSignUpToSignOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	response, err := s.SignUp(fromAddress(t, "192.0.2.1"), &accountspb.SignUpRequest{Handle: "ada-1", DisplayName: "  Ada  ", Password: password})
	if err != nil {
		t.Fatal(err)
	}
	token, account := response.Session.Token, response.Session.Account
	if account.Name != "accounts/ada-1" || account.DisplayName != "Ada" || account.Id == 0 {
		t.Errorf("got account %v", account)
	}
	verified, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: token})
	if err != nil || verified.Account.Id != account.Id {
		t.Fatalf("VerifySession: got %v, %v", verified, err)
	}
	current, err := s.GetCurrentAccount(withSession(t.Context(), token), &accountspb.GetCurrentAccountRequest{})
	if err != nil || current.Account.Handle != "ada-1" {
		t.Fatalf("GetCurrentAccount: got %v, %v", current, err)
	}
	for range 2 { // idempotent
		if _, err := s.SignOut(withSession(t.Context(), token), &accountspb.SignOutRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: token})
	wantFailure(t, err, "SESSION_INVALID")
	_, err = s.GetCurrentAccount(withSession(t.Context(), token), &accountspb.GetCurrentAccountRequest{})
	wantFailure(t, err, "SESSION_INVALID")
}

func TestSignUpRejectsLookAlikeHandle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, handle := range []string{"moore-01", "will", "wren"} {
		s.signUp(t, handle)
	}
	for _, handle := range []string{"moore-01", "m0ore-01", "moore-o1", "moore-0l", "rnoore-01", "wi1l", "wi11", "vvill", "vvren"} {
		_, err := s.SignUp(fromAddress(t, "192.0.2.1"), &accountspb.SignUpRequest{Handle: handle, Password: password})
		if f := wantFailure(t, err, "HANDLE_TAKEN"); len(f.Violations) != 1 || f.Violations[0].Field != "handle" {
			t.Errorf("%s: got %v, want a violation of handle", handle, f)
		}
	}
	for _, handle := range []string{"moore-10", "moore01", "wiil", "wern"} {
		s.signUp(t, handle)
	}
}

// Of concurrent sign-ups for handles that look alike, one succeeds.
func TestConcurrentSignUpsForLookAlikeHandles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var signUps sync.WaitGroup
	var succeeded atomic.Int32
	for _, handle := range []string{"lol", "l01", "l0l", "lo1"} {
		signUps.Go(func() {
			_, err := s.SignUp(fromAddress(t, "192.0.2.1"), &accountspb.SignUpRequest{Handle: handle, Password: password})
			var f *apperror.Failure
			switch {
			case err == nil:
				succeeded.Add(1)
			case !errors.As(err, &f) || f.Reason != "HANDLE_TAKEN":
				t.Errorf("%s: %v", handle, err)
			}
		})
	}
	signUps.Wait()
	if n := succeeded.Load(); n != 1 {
		t.Errorf("got %d successful sign-ups, want 1", n)
	}
}

// Accounts that predate the rule keep their handles.
func TestExistingLookAlikeHandlesCanSignIn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "paul")
	if _, err := s.database.Superuser().Exec(`
		insert into accounts.account (handle, display_name, password)
		select 'pau1', 'Paul', password
		from   accounts.account`); err != nil {
		t.Fatal(err)
	}
	for _, handle := range []string{"paul", "pau1"} {
		response, err := s.SignIn(fromAddress(t, "192.0.2.1"), &accountspb.SignInRequest{Handle: handle, Password: password})
		if err != nil || response.Session.Account.Handle != handle {
			t.Errorf("%s: got %v, %v", handle, response, err)
		}
	}
}

func TestDisplayNameIsCleaned(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range []string{"\u200b", "\u202eada", "A\u00adda", "\u3164", "\u2800", "A\u0085da"} {
		_, err := s.SignUp(fromAddress(t, "192.0.2.1"), &accountspb.SignUpRequest{Handle: "ada", DisplayName: name, Password: password})
		if f := wantFailure(t, err, "FIELDS_INVALID"); len(f.Violations) != 1 || f.Violations[0].Field != "display_name" {
			t.Errorf("%+q: got %v, want a violation of display_name", name, f)
		}
	}
	response, err := s.SignUp(fromAddress(t, "192.0.2.1"), &accountspb.SignUpRequest{Handle: "zoe", DisplayName: "Zoe\u0308", Password: password})
	if err != nil || response.Session.Account.DisplayName != "Zo\u00eb" {
		t.Errorf("got %v, %v", response, err)
	}
}

func TestSignOutWithoutSessionChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.signUp(t, "ada")
	for _, ctx := range []context.Context{t.Context(), withSession(t.Context(), ""), withSession(t.Context(), "unknown")} {
		if _, err := s.SignOut(ctx, &accountspb.SignOutRequest{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: token}); err != nil {
		t.Error(err)
	}
}

func TestVerifySessionRejectsUnknownTokens(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, token := range []string{"", "not a token", strings.Repeat("A", 43), "\xff\x00"} {
		_, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: token})
		wantFailure(t, err, "SESSION_INVALID")
	}
}

func TestSessionExpires(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.signUp(t, "ada")
	if _, err := s.database.Superuser().Exec(`update accounts.session set expires_at = now()`); err != nil {
		t.Fatal(err)
	}
	_, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: token})
	wantFailure(t, err, "SESSION_INVALID")
}

// An attacker who reads the tables can neither sign in nor take over a session.
func TestSecretsAreStoredHashed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.signUp(t, "ada")
	var passwordHash, tokenHash string
	if err := s.database.Superuser().QueryRow(`
		select a.password, encode(s.token_hash, 'escape')
		from   accounts.account a, accounts.session s`).Scan(&passwordHash, &tokenHash); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(passwordHash, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(passwordHash, password) {
		t.Errorf("got stored password %q, want an argon2id hash", passwordHash)
	}
	if strings.Contains(tokenHash, token) {
		t.Error("the session token is stored in plain text")
	}
}

func TestHandlesAreCaseInsensitive(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	for _, handle := range []string{"ada", "ADA", " Ada "} {
		if _, err := s.SignIn(fromAddress(t, ""), &accountspb.SignInRequest{Handle: handle, Password: password}); err != nil {
			t.Errorf("%q: %v", handle, err)
		}
	}
	_, err := s.SignUp(fromAddress(t, ""), &accountspb.SignUpRequest{Handle: "ada", Password: password})
	if f := wantFailure(t, err, "HANDLE_TAKEN"); len(f.Violations) != 1 || f.Violations[0].Field != "handle" {
		t.Errorf("got violations %v, want one of handle", f.Violations)
	}
}

func TestConcurrentSignUpsForSameHandleCreateOneAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var mu sync.Mutex
	succeeded := 0
	var signUps sync.WaitGroup
	for range 8 {
		signUps.Go(func() {
			_, err := s.SignUp(fromAddress(t, ""), &accountspb.SignUpRequest{Handle: "ada", Password: password})
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				succeeded++
			} else if f := (*apperror.Failure)(nil); !errors.As(err, &f) || f.Reason != "HANDLE_TAKEN" {
				t.Error(err)
			}
		})
	}
	signUps.Wait()
	if succeeded != 1 {
		t.Errorf("got %d successful sign-ups, want 1", succeeded)
	}
}

// The error does not reveal whether the handle exists.
func TestWrongCredentialsDoNotRevealHandle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	_, wrong := s.SignIn(fromAddress(t, ""), &accountspb.SignInRequest{Handle: "ada", Password: "something else"})
	_, unknown := s.SignIn(fromAddress(t, ""), &accountspb.SignInRequest{Handle: "bob", Password: password})
	if a, b := wantFailure(t, wrong, "WRONG_CREDENTIALS"), wantFailure(t, unknown, "WRONG_CREDENTIALS"); a.Message != b.Message {
		t.Errorf("wrong password: got %q, unknown handle: got %q; want the same message", a.Message, b.Message)
	}
}

// Concurrent guesses cannot pass the limit together.
func TestConcurrentAttemptsAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.signUp(t, "ada")
	var mu sync.Mutex
	checked := 0
	var signIns sync.WaitGroup
	for range 30 {
		signIns.Go(func() {
			_, err := s.SignIn(fromAddress(t, "192.0.2.1"), &accountspb.SignInRequest{Handle: "ada", Password: "something else"})
			var f *apperror.Failure
			mu.Lock()
			defer mu.Unlock()
			if errors.As(err, &f) && f.Reason == "WRONG_CREDENTIALS" {
				checked++
			}
		})
	}
	signIns.Wait()
	if checked != 10 {
		t.Errorf("got %d passwords checked, want 10", checked)
	}
}

func TestSignUpsFromOneAddressAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var err error
	for i := 0; err == nil; i++ {
		handle := fmt.Sprintf("ada-%d", i)
		_, err = s.SignUp(fromAddress(t, "192.0.2.1"), &accountspb.SignUpRequest{Handle: handle, Password: password})
	}
	wantFailure(t, err, "TOO_MANY_ATTEMPTS")
	if _, err := s.SignUp(fromAddress(t, "192.0.2.2"), &accountspb.SignUpRequest{Handle: "bob", Password: password}); err != nil {
		t.Errorf("from another address: %v", err)
	}
}

func TestSweepDeletesOnlyExpiredRows(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	token := s.signUp(t, "ada")
	admin := s.database.Superuser()
	if _, err := admin.Exec(`
		insert into accounts.session (token_hash, account_id, expires_at)
		select sha256(i::text::bytea), (select id from accounts.account), now() - interval '1 second'
		from   generate_series(1, 2500) i;
		insert into accounts.attempt (key, began_at, count)
		select i::text, now() - interval '1 hour', 1
		from   generate_series(1, 2500) i;
		insert into accounts.attempt (key, count)
		values ('new', 3)`); err != nil {
		t.Fatal(err)
	}
	if err := accounts.SweepOnce(s.module, t.Context()); err != nil {
		t.Fatal(err)
	}
	var sessions, attempts int
	if err := admin.QueryRow(`select (select count(*) from accounts.session), (select count(*) from accounts.attempt)`).Scan(&sessions, &attempts); err != nil {
		t.Fatal(err)
	}
	if sessions != 1 || attempts != 1 {
		t.Errorf("got %d sessions and %d attempts left, want 1 of each", sessions, attempts)
	}
	if _, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: token}); err != nil {
		t.Error(err)
	}
}

func TestNewSessionReplacesOldestAtLimit(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.signUp(t, "ada")
	second := ""
	for range 50 {
		response, err := s.SignIn(fromAddress(t, ""), &accountspb.SignInRequest{Handle: "ada", Password: password})
		if err != nil {
			t.Fatal(err)
		}
		if second == "" {
			second = response.Session.Token
		}
	}
	_, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: first})
	wantFailure(t, err, "SESSION_INVALID")
	if _, err := s.VerifySession(t.Context(), &accountspb.VerifySessionRequest{Token: second}); err != nil {
		t.Errorf("second oldest session: %v", err)
	}
}
