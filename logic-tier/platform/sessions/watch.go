// Package sessions notices that a session ended while something still follows it:
// a stream or a long poll is let in once and lasts for minutes.
package sessions

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

const (
	// checkEvery is how often sessions are checked: a revoked session receives
	// nothing after this and the time of one query.
	checkEvery = 3 * time.Second
	// checkTimeout bounds one check.
	checkTimeout = 5 * time.Second
	// checkAtOnce is how many sessions one call checks, the contract's bound. The
	// sessions themselves are bounded by the streams and subscriptions that watch
	// them.
	checkAtOnce = 5000
)

// ErrEnded is why a call or a subscription whose session ended is over.
var ErrEnded = apperror.New(apperror.Unauthenticated, "SESSION_INVALID", "the session has ended; sign in again")

// Watch checks the sessions that are followed on this process: one query for all of
// them, none while nobody follows. It works whichever replica ended the session,
// and however: sign-out, a new password, expiry, a closed account.
type Watch struct {
	accounts accountspb.AccountsClient
	log      *slog.Logger
	every    time.Duration

	mu      sync.Mutex
	watched map[int64]map[*func()]bool // by session
}

// New returns a Watch, which checks while Run runs.
func New(accounts accountspb.AccountsClient, log *slog.Logger) *Watch {
	return &Watch{accounts: accounts, log: log, every: checkEvery, watched: map[int64]map[*func()]bool{}}
}

// Add has ended called once when the session ends, unless remove was called before.
// The call may still come while remove runs. A session that is 0 never ends: who
// calls has none, or the accounts module is too old to number it.
func (w *Watch) Add(session int64, ended func()) (remove func()) {
	if session == 0 {
		return func() {}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watched[session] == nil {
		w.watched[session] = map[*func()]bool{}
	}
	w.watched[session][&ended] = true
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.watched[session], &ended)
		if len(w.watched[session]) == 0 {
			delete(w.watched, session)
		}
	}
}

// Run checks until ctx ends. While the accounts module does not answer, nothing
// ends; it is asked again.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.check(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("sessions: not checked; trying again", "error", err)
		}
	}
}

func (w *Watch) check(ctx context.Context) error {
	w.mu.Lock()
	sessions := make([]int64, 0, len(w.watched))
	for session := range w.watched {
		sessions = append(sessions, session)
	}
	w.mu.Unlock()
	for some := range slices.Chunk(sessions, checkAtOnce) {
		if err := w.checkSome(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

func (w *Watch) checkSome(ctx context.Context, sessions []int64) error {
	ctx, done := context.WithTimeout(ctx, checkTimeout)
	defer done()
	answer, err := w.accounts.CheckSessions(ctx, &accountspb.CheckSessionsRequest{SessionIds: sessions})
	if err != nil {
		return err
	}
	for _, session := range answer.EndedSessionIds {
		w.mu.Lock()
		all := w.watched[session]
		delete(w.watched, session)
		w.mu.Unlock()
		for ended := range all {
			(*ended)()
		}
	}
	return nil
}
