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
	sessionLifetime = 30 * 24 * time.Hour
	// maxSessions bounds an account's sessions. A new session replaces the oldest.
	maxSessions = 50
	// tokenLength is the number of random bytes of a token: 256 bits cannot be guessed.
	tokenLength = 32
)

var (
	errSessionInvalid  = apperror.New(apperror.Unauthenticated, "SESSION_INVALID", "the session is no longer valid; sign in again")
	errCredentials     = apperror.New(apperror.Unauthenticated, "WRONG_CREDENTIALS", "wrong handle or password")
	errHandleTaken     = newHandleTaken("that handle is taken; try another")
	errHandleLookAlike = newHandleTaken("that handle looks like another account's; try another")
)

func newHandleTaken(message string) *apperror.Failure {
	f := apperror.New(apperror.Exists, "HANDLE_TAKEN", message)
	f.Violations = []apperror.Violation{{Field: "handle", Description: message}}
	return f
}

// account is a user's account.
type account struct {
	id                  int64
	handle, displayName string
	created             time.Time
}

// session is a signed-in browser of an account.
type session struct {
	token   string
	expires time.Time
	account account
}

// signUp creates an account and its first session.
func (m *Module) signUp(ctx context.Context, handle, displayName, password, address string, b browser) (session, error) {
	if slices.Contains(m.deps.Operators, handle) && caller.From(ctx).Program != transport.Operator {
		// The account would have operator rights.
		return session{}, errHandleTaken
	}
	if err := m.admitSignUp(ctx, address); err != nil {
		return session{}, err
	}
	if strings.TrimSpace(displayName) == "" {
		displayName = handle
	}
	displayName, err := names.Clean(displayName)
	if err != nil {
		return session{}, apperror.InvalidField("FIELDS_INVALID", "display_name", err.Error())
	}
	hashed, err := m.hashPassword(ctx, password)
	if err != nil {
		return session{}, err
	}
	s := newSession()
	s.account, err = m.store.addAccount(ctx, handle, displayName, hashed, digest(s.token), s.expires, b)
	return s, err
}

// signIn opens a session of an account, given its password.
func (m *Module) signIn(ctx context.Context, handle, password, address string, b browser) (session, error) {
	handle = strings.ToLower(strings.TrimSpace(handle))
	if err := m.admitSignIn(ctx, handle, address); err != nil {
		return session{}, err
	}
	a, hashed, found, err := m.store.accountByHandle(ctx, handle)
	if err != nil {
		return session{}, err
	}
	if !found {
		hashed = dummyHash
	}
	matches, err := m.checkPassword(ctx, password, hashed)
	if err != nil {
		return session{}, err
	}
	if !found || !matches {
		return session{}, errCredentials
	}
	if err := m.recordSignIn(ctx, handle, address); err != nil {
		return session{}, err
	}
	s := newSession()
	s.account = a
	return s, m.store.addSession(ctx, digest(s.token), a.id, s.expires, hashed, b)
}

// newSession returns a session with a random token and no account.
func newSession() session {
	random := make([]byte, tokenLength)
	rand.Read(random)
	return session{token: base64.RawURLEncoding.EncodeToString(random), expires: time.Now().Add(sessionLifetime)}
}

// verify returns the account and the number of the session with the given token. It
// updates the session's last use time.
func (m *Module) verify(ctx context.Context, token string) (account, int64, error) {
	v, found, err := m.store.sessionByToken(ctx, digest(token))
	switch {
	case err == nil && !found:
		err = errSessionInvalid
	case err == nil && v.stale:
		err = m.store.touchSession(ctx, digest(token))
	}
	return v.account, v.number, err
}

// closeSession ends a session. It is idempotent.
func (m *Module) closeSession(ctx context.Context, token string) error {
	return m.store.removeSession(ctx, digest(token))
}

// digest returns the hash that is stored in place of a token. A fast hash suffices: a token
// has 256 random bits and, unlike a password, cannot be guessed.
func digest(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}
