package accounts

import (
	"context"
	"time"

	"techtalks.example/logic-tier/failure"
)

var errTooMany = failure.New(failure.Exhausted, "TOO_MANY_ATTEMPTS", "too many attempts; wait a while before you try again")

// limit is how many attempts there may be in a window of time.
type limit struct {
	kind   string
	most   int
	window time.Duration
}

// Attempts are limited by account, against guessing one person's password, and
// by address, against guessing everybody's; the second is wide, since many
// people share an address.
var (
	failuresOfHandle  = limit{"sign-in handle ", 10, 15 * time.Minute}
	failuresOfAddress = limit{"sign-in address ", 100, 15 * time.Minute}
	signUpsOfAddress  = limit{"sign-up address ", 30, time.Hour}
)

// longestWindow is after which every attempt is forgotten.
const longestWindow = time.Hour

// attempt counts an attempt, and refuses it over the limit. It is counted
// before it is made, so that attempts side by side do not pass together.
func (m *Module) attempt(ctx context.Context, l limit, who string) error {
	if who == "" {
		return nil
	}
	count, left, err := m.store.countAttempt(ctx, l.kind+who, l.window)
	if err != nil {
		return err
	}
	if count > l.most {
		return errTooMany.RetryIn(left)
	}
	return nil
}

// forgive takes an attempt back that turned out to be right.
func (m *Module) forgive(ctx context.Context, l limit, who string) error {
	return m.store.takeBackAttempt(ctx, l.kind+who)
}
