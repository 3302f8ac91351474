package accounts

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/names"
	"techtalks.example/proto/transport"
)

const (
	// sessionLife is how long a browser stays signed in.
	sessionLife = 30 * 24 * time.Hour
	// sessionsKept bounds an account's sessions; the oldest makes room.
	sessionsKept = 50
	// tokenLength is a token's random bytes: nobody guesses 256 bits.
	tokenLength = 32
)

var (
	errSession     = apperror.New(apperror.Unauthenticated, "SESSION_INVALID", "the session is not valid any more; sign in again")
	errCredentials = apperror.New(apperror.Unauthenticated, "WRONG_CREDENTIALS", "no account has this handle and password")
	errTaken       = handleTaken("somebody has this handle already; choose another")
	errLookAlike   = handleTaken("this handle looks like another account's; choose another")
)

func handleTaken(message string) *apperror.Failure {
	f := apperror.New(apperror.Exists, "HANDLE_TAKEN", message)
	f.Violations = []apperror.Violation{{Field: "handle", Description: message}}
	return f
}

// account is a person's account.
type account struct {
	id              int64
	handle, display string
	created         time.Time
}

// session is a signed-in browser of an account.
type session struct {
	token   string
	expires time.Time
	account account
}

// signUp makes an account and signs it in.
func (m *Module) signUp(ctx context.Context, handle, display, password, address string, from browser) (session, error) {
	if slices.Contains(m.needs.Operators, handle) && caller.From(ctx).Program != transport.Operator {
		// It would make a stranger an operator.
		return session{}, errTaken
	}
	if err := m.attemptSignUp(ctx, address); err != nil {
		return session{}, err
	}
	if strings.TrimSpace(display) == "" {
		display = handle
	}
	display, err := names.Clean(display)
	if err != nil {
		return session{}, apperror.InvalidField("FIELDS_INVALID", "display_name", err.Error())
	}
	hashed, err := m.hash(ctx, password)
	if err != nil {
		return session{}, err
	}
	s := newSession()
	s.account, err = m.store.addAccount(ctx, handle, display, hashed, digest(s.token), s.expires, from)
	return s, err
}

// signIn opens a session for who knows the password.
func (m *Module) signIn(ctx context.Context, handle, password, address string, from browser) (session, error) {
	handle = strings.ToLower(strings.TrimSpace(handle))
	if err := m.attemptSignIn(ctx, handle, address); err != nil {
		return session{}, err
	}
	a, hashed, found, err := m.store.accountOf(ctx, handle)
	if err != nil {
		return session{}, err
	}
	if !found {
		hashed = nobody
	}
	right, err := m.matches(ctx, password, hashed)
	if err != nil {
		return session{}, err
	}
	if !found || !right {
		return session{}, errCredentials
	}
	if err := m.signInSucceeded(ctx, handle, address); err != nil {
		return session{}, err
	}
	s := newSession()
	s.account = a
	return s, m.store.addSession(ctx, digest(s.token), a.id, s.expires, hashed, from)
}

// newSession returns a session of nobody's yet.
func newSession() session {
	random := make([]byte, tokenLength)
	rand.Read(random)
	return session{token: base64.RawURLEncoding.EncodeToString(random), expires: time.Now().Add(sessionLife)}
}

// verify returns whose a session is, and its number.
func (m *Module) verify(ctx context.Context, token string) (account, int64, error) {
	v, found, err := m.store.sessionOf(ctx, digest(token))
	switch {
	case err == nil && !found:
		err = errSession
	case err == nil && v.stale:
		err = m.store.useSession(ctx, digest(token))
	}
	return v.account, v.number, err
}

// close revokes a session.
func (m *Module) close(ctx context.Context, token string) error {
	return m.store.removeSession(ctx, digest(token))
}

// digest is what is kept of a token. A token has 256 random bits: unlike a
// password it cannot be guessed from a quick hash.
func digest(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
