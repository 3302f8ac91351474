package accounts

import (
	"context"
	"strconv"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

const (
	// maxUserAgent is the number of characters kept of a user agent. Those of browsers
	// have fewer than 200.
	maxUserAgent = 300
	// useTimePrecision is the precision of a session's last use time. Writing it for each
	// request would cost more than the request.
	useTimePrecision = 10 * time.Minute
	// closedRepeatDelay is the delay after which account.closed is published again. A call
	// that was authenticated before the account was closed can still write data for it; by
	// then the longest calls, of one minute, have finished.
	closedRepeatDelay = 2 * time.Minute
)

// failuresPerAccount limits guessing the password from within a session. It is separate
// from the sign-in limits, so that an attacker with a session cannot keep the owner from
// signing in.
var failuresPerAccount = rateLimit{"password of account ", 10, 15 * time.Minute}

func wrongPassword(field, description string) error {
	return apperror.InvalidField("WRONG_PASSWORD", field, description)
}

// browser is the browser that a user signs in with.
type browser struct {
	userAgent string
	// replacedToken is the token of the browser's current session; empty for none.
	replacedToken string
}

func browserOf(r interface {
	GetUserAgent() string
	GetReplacedSessionToken() string
}) browser {
	agent := []rune(r.GetUserAgent())
	return browser{userAgent: string(agent[:min(len(agent), maxUserAgent)]), replacedToken: r.GetReplacedSessionToken()}
}

// sessionSummary describes a session to its owner.
type sessionSummary struct {
	number                 int64
	userAgent              string
	created, used, expires time.Time
	current                bool
}

// confirmPassword checks the password of a signed-in account and returns its hash. A wrong
// password is a failure with the given field and description.
func (m *Module) confirmPassword(ctx context.Context, account int64, password, field, description string) (hashed string, err error) {
	key := failuresPerAccount.keyPrefix + strconv.FormatInt(account, 10)
	counted, err := m.store.countAttempts(ctx, failuresPerAccount.window, map[string]int{key: 1})
	if err != nil {
		return "", err
	}
	if err := counted[key].check(failuresPerAccount.max); err != nil {
		return "", err
	}
	hashed, found, err := m.store.passwordHash(ctx, account)
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", errSessionInvalid
	}
	matches, err := m.checkPassword(ctx, password, hashed)
	switch {
	case err != nil:
		return "", err
	case !matches:
		return "", wrongPassword(field, description)
	}
	return hashed, m.store.adjustAttempts(ctx, map[string]int{key: -1})
}

// changePassword sets a new password and ends the account's other sessions, which an
// attacker who knew the old password could have opened.
func (m *Module) changePassword(ctx context.Context, account int64, token, currentPassword, newPassword string) error {
	oldHash, err := m.confirmPassword(ctx, account, currentPassword, "current_password", "this is not your current password")
	if err != nil {
		return err
	}
	newHash, err := m.hashPassword(ctx, newPassword)
	if err != nil {
		return err
	}
	changed, err := m.store.changePassword(ctx, account, oldHash, newHash, digest(token))
	if err == nil && !changed {
		err = wrongPassword("current_password", "the password was changed in another session; enter the new one")
	}
	return err
}

// closeAccount permanently closes an account and publishes account.closed.
func (m *Module) closeAccount(ctx context.Context, account int64, password string) error {
	if _, err := m.confirmPassword(ctx, account, password, "password", "this is not your password"); err != nil {
		return err
	}
	return m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		closed, err := m.store.closeAccount(ctx, tx, account, dummyHash)
		if err != nil || !closed {
			return err
		}
		for _, delay := range []time.Duration{0, closedRepeatDelay} {
			if _, err := m.deps.Publisher.Publish(ctx, tx, queue.Message{
				Exchange: exchange, RoutingKey: closedType, Type: closedType, Delay: delay, Body: &accountspb.AccountClosed{AccountId: account},
			}); err != nil {
				return err
			}
		}
		return nil
	})
}
