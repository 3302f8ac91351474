package accounts

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
)

var errTooMany = apperror.New(apperror.Exhausted, "TOO_MANY_ATTEMPTS", "too many attempts; wait a while before you try again")

// limit is how many attempts there can be in a window of time.
type limit struct {
	kind   string
	most   int
	window time.Duration
}

// signInWindow is one for all limits of signing in: they are counted together.
const signInWindow = 15 * time.Minute

var (
	// signUpsOfAddress and signInsOfAddress, of which the second counts successes
	// too, are wide: many people share an address.
	signUpsOfAddress = limit{"sign-up address ", 30, time.Hour}
	signInsOfAddress = limit{"sign-ins address ", 300, signInWindow}

	// failuresOfAddress is against guessing everybody's password.
	failuresOfAddress = limit{"sign-in address ", 100, signInWindow}

	// failuresOfPair is against guessing one person's password. It counts an
	// address's failures with a handle: counted by handle alone, a stranger's
	// failures would lock the person out.
	failuresOfPair = limit{"sign-in pair ", 10, signInWindow}

	// failuresOfHandle is against guessing one person's password from many
	// addresses, at least ten. Beyond it an address has triesUnderAttack instead
	// of failuresOfPair, and never none: the person can still sign in from
	// anywhere.
	failuresOfHandle = limit{"sign-in handle ", 1000, signInWindow}

	// signInsOfAccount counts successes alone, so that a stranger cannot spend
	// them. More would only push out the account's own sessions.
	signInsOfAccount = limit{"sign-ins account ", sessionsKept, signInWindow}
)

// triesUnderAttack is how many failures an address has with a handle that is
// under attack: one, and one for a typing error.
const triesUnderAttack = 2

// longestWindow is after which every attempt is forgotten.
const longestWindow = time.Hour

// counts are the attempts counted under a key.
type counts struct {
	count int
	left  time.Duration // until the window ends
}

// attemptSignUp counts a sign-up before it is made, and refuses it over the limit.
func (m *Module) attemptSignUp(ctx context.Context, address string) error {
	if address == "" {
		return nil
	}
	key := signUpsOfAddress.kind + address
	counted, err := m.store.countAttempts(ctx, signUpsOfAddress.window, map[string]int{key: 1})
	if err != nil {
		return err
	}
	return counted[key].refusal(signUpsOfAddress.most)
}

// attemptSignIn counts a sign-in as a failure before the password is checked, so
// that attempts made side by side do not pass together, and refuses it over a
// limit. Of an address over its limits no handle is counted: it could fill the
// table with handles.
func (m *Module) attemptSignIn(ctx context.Context, handle, address string) error {
	if address != "" {
		all, failures := signInsOfAddress.kind+address, failuresOfAddress.kind+address
		counted, err := m.store.countAttempts(ctx, signInWindow, map[string]int{all: 1, failures: 1})
		if err != nil {
			return err
		}
		if err := counted[all].refusal(signInsOfAddress.most); err != nil {
			return err
		}
		if err := counted[failures].refusal(failuresOfAddress.most); err != nil {
			return err
		}
	}
	pair, everywhere, successes := pairKey(handle, address), failuresOfHandle.kind+handle, signInsOfAccount.kind+handle
	counted, err := m.store.countAttempts(ctx, signInWindow, map[string]int{pair: 1, everywhere: 1, successes: 0})
	if err != nil {
		return err
	}
	most := failuresOfPair.most
	if counted[everywhere].count > failuresOfHandle.most {
		most = triesUnderAttack
	}
	if err := counted[pair].refusal(most); err != nil {
		return err
	}
	return counted[successes].refusal(signInsOfAccount.most - 1)
}

// signInSucceeded counts what attemptSignIn counted as a failure as a success.
func (m *Module) signInSucceeded(ctx context.Context, handle, address string) error {
	return m.store.adjustAttempts(ctx, map[string]int{
		failuresOfAddress.kind + address: -1, pairKey(handle, address): -1, failuresOfHandle.kind + handle: -1,
		signInsOfAccount.kind + handle: 1,
	})
}

func pairKey(handle, address string) string { return failuresOfPair.kind + address + " " + handle }

// refusal returns the refusal of an attempt when more than most are counted.
func (c counts) refusal(most int) error {
	if c.count > most {
		return errTooMany.RetryIn(c.left)
	}
	return nil
}
