package accounts

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
)

var errTooManyAttempts = apperror.New(apperror.Exhausted, "TOO_MANY_ATTEMPTS", "too many attempts; try again later")

// rateLimit bounds the attempts per key in a window of time.
type rateLimit struct {
	keyPrefix string
	max       int
	window    time.Duration
}

// signInWindow is the window of all sign-in limits, which are counted in one statement.
const signInWindow = 15 * time.Minute

var (
	// signUpsPerAddress and signInsPerAddress are high because many people can share an
	// address. signInsPerAddress also counts successes.
	signUpsPerAddress = rateLimit{"sign-up address ", 30, time.Hour}
	signInsPerAddress = rateLimit{"sign-ins address ", 300, signInWindow}

	// failuresPerAddress limits password guessing across accounts.
	failuresPerAddress = rateLimit{"sign-in address ", 100, signInWindow}

	// failuresPerPair limits guessing the password of one account. It counts failures per
	// address and handle: counted per handle alone, an attacker's failures would lock the
	// owner out.
	failuresPerPair = rateLimit{"sign-in pair ", 10, signInWindow}

	// failuresPerHandle limits guessing the password of one account from many addresses,
	// at least ten. Beyond it each address is allowed maxFailuresUnderAttack instead of
	// failuresPerPair. That is never zero, so the owner can still sign in from any address.
	failuresPerHandle = rateLimit{"sign-in handle ", 1000, signInWindow}

	// signInsPerAccount counts only successes, so that an attacker cannot exhaust it.
	// More sign-ins would only replace the account's own sessions.
	signInsPerAccount = rateLimit{"sign-ins account ", maxSessions, signInWindow}
)

// maxFailuresUnderAttack is the number of failures that each address is allowed for a
// handle under attack: one attempt, and one for a typing error.
const maxFailuresUnderAttack = 2

// maxWindow is the longest window. The sweep deletes attempts after it.
const maxWindow = time.Hour

// attempts is the number of attempts counted under a key.
type attempts struct {
	count   int
	resetIn time.Duration // until the window ends
}

// admitSignUp counts a sign-up before it runs and rejects it if it exceeds the limit.
func (m *Module) admitSignUp(ctx context.Context, address string) error {
	if address == "" {
		return nil
	}
	key := signUpsPerAddress.keyPrefix + address
	counted, err := m.store.countAttempts(ctx, signUpsPerAddress.window, map[string]int{key: 1})
	if err != nil {
		return err
	}
	return counted[key].check(signUpsPerAddress.max)
}

// admitSignIn counts a sign-in as a failure before the password is checked, so that
// concurrent attempts cannot pass the limit together, and rejects it if it exceeds a
// limit. For an address over its limits it does not count handles, so that the address
// cannot fill the table with them.
func (m *Module) admitSignIn(ctx context.Context, handle, address string) error {
	if address != "" {
		all, failures := signInsPerAddress.keyPrefix+address, failuresPerAddress.keyPrefix+address
		counted, err := m.store.countAttempts(ctx, signInWindow, map[string]int{all: 1, failures: 1})
		if err != nil {
			return err
		}
		if err := counted[all].check(signInsPerAddress.max); err != nil {
			return err
		}
		if err := counted[failures].check(failuresPerAddress.max); err != nil {
			return err
		}
	}
	pair, failures, successes := pairKey(handle, address), failuresPerHandle.keyPrefix+handle, signInsPerAccount.keyPrefix+handle
	counted, err := m.store.countAttempts(ctx, signInWindow, map[string]int{pair: 1, failures: 1, successes: 0})
	if err != nil {
		return err
	}
	maxFailures := failuresPerPair.max
	if counted[failures].count > failuresPerHandle.max {
		maxFailures = maxFailuresUnderAttack
	}
	if err := counted[pair].check(maxFailures); err != nil {
		return err
	}
	return counted[successes].check(signInsPerAccount.max - 1)
}

// recordSignIn turns the failure that admitSignIn counted into a success.
func (m *Module) recordSignIn(ctx context.Context, handle, address string) error {
	return m.store.adjustAttempts(ctx, map[string]int{
		failuresPerAddress.keyPrefix + address: -1, pairKey(handle, address): -1, failuresPerHandle.keyPrefix + handle: -1,
		signInsPerAccount.keyPrefix + handle: 1,
	})
}

func pairKey(handle, address string) string {
	return failuresPerPair.keyPrefix + address + " " + handle
}

// check returns an error if there are more than limit attempts.
func (a attempts) check(limit int) error {
	if a.count > limit {
		return errTooManyAttempts.RetryIn(a.resetIn)
	}
	return nil
}
