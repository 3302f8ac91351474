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
	// userAgentKept bounds what is kept of a browser's name: browsers' own are below
	// 200 characters.
	userAgentKept = 300
	// usedWithin is how exact the time of a session's last use is: a write for each
	// request would cost more than the request.
	usedWithin = 10 * time.Minute
	// closedAgain is after how long account.closed is published again. A call that
	// was let in before the account was closed may still write for it; by then the
	// longest, a minute, has ended.
	closedAgain = 2 * time.Minute
)

// failuresOfPassword limits guessing the password from within a session. It has a
// count of its own: who guesses there must not keep the owner from signing in.
var failuresOfPassword = limit{"password of account ", 10, 15 * time.Minute}

func errPassword(field, description string) error {
	return apperror.InvalidField("WRONG_PASSWORD", field, description)
}

// browser is what a person signs in with.
type browser struct {
	userAgent string
	// replaces is the token of the session that it has so far; empty for none.
	replaces string
}

func browserOf(r interface {
	GetUserAgent() string
	GetReplacedSessionToken() string
}) browser {
	agent := []rune(r.GetUserAgent())
	return browser{userAgent: string(agent[:min(len(agent), userAgentKept)]), replaces: r.GetReplacedSessionToken()}
}

// summary is a session as its owner sees it.
type summary struct {
	number                 int64
	userAgent              string
	created, used, expires time.Time
	current                bool
}

// confirm checks the password of an account that is signed in, and returns its
// hash.
func (m *Module) confirm(ctx context.Context, account int64, password, field, description string) (hashed string, err error) {
	key := failuresOfPassword.kind + strconv.FormatInt(account, 10)
	counted, err := m.store.countAttempts(ctx, failuresOfPassword.window, map[string]int{key: 1})
	if err != nil {
		return "", err
	}
	if err := counted[key].refusal(failuresOfPassword.most); err != nil {
		return "", err
	}
	hashed, found, err := m.store.passwordOf(ctx, account)
	switch {
	case err != nil:
		return "", err
	case !found:
		return "", errSession
	}
	right, err := m.matches(ctx, password, hashed)
	switch {
	case err != nil:
		return "", err
	case !right:
		return "", errPassword(field, description)
	}
	return hashed, m.store.adjustAttempts(ctx, map[string]int{key: -1})
}

// changePassword sets a new password and ends the account's other sessions: whoever
// knew the old password has one of them.
func (m *Module) changePassword(ctx context.Context, account int64, token, current, next string) error {
	before, err := m.confirm(ctx, account, current, "current_password", "this is not your current password")
	if err != nil {
		return err
	}
	hashed, err := m.hash(ctx, next)
	if err != nil {
		return err
	}
	changed, err := m.store.changePassword(ctx, account, before, hashed, digest(token))
	if err == nil && !changed {
		err = errPassword("current_password", "the password was changed at the same time elsewhere; enter the new one")
	}
	return err
}

// closeAccount closes an account for good and tells the other modules.
func (m *Module) closeAccount(ctx context.Context, account int64, password string) error {
	if _, err := m.confirm(ctx, account, password, "password", "this is not your password"); err != nil {
		return err
	}
	return m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		isNew, err := m.store.closeAccount(ctx, tx, account, nobody)
		if err != nil || !isNew {
			return err
		}
		for _, delay := range []time.Duration{0, closedAgain} {
			if _, err := m.needs.Publisher.Publish(ctx, tx, queue.Message{
				Exchange: exchange, RoutingKey: closed, Type: closed, Delay: delay, Body: &accountspb.AccountClosed{AccountId: account},
			}); err != nil {
				return err
			}
		}
		return nil
	})
}
