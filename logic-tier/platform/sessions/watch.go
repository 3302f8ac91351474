// Package sessions detects ended sessions for streams and long polls, which are
// authenticated once and last for minutes.
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
	// checkInterval is how often sessions are checked. A revoked session receives nothing
	// after this interval and the time of one query.
	checkInterval = 3 * time.Second
	// checkTimeout bounds one check.
	checkTimeout = 5 * time.Second
	// checkBatch is the maximum number of sessions per call, set by the contract. The
	// total is bounded by the streams and subscriptions that watch sessions.
	checkBatch = 5000
)

// ErrEnded is the error of a call or subscription whose session ended.
var ErrEnded = apperror.New(apperror.Unauthenticated, "SESSION_INVALID", "session ended; sign in again")

// Watch checks the sessions in use by this process with one query, or none if no session is
// watched. It detects the end of a session on any replica, by sign-out, change of password,
// expiry or closing of the account.
type Watch struct {
	accounts accountspb.AccountsClient
	log      *slog.Logger
	interval time.Duration

	mu      sync.Mutex
	watched map[int64]map[*func()]bool // callbacks by session
}

// New returns a Watch, which checks sessions while Run runs.
func New(accounts accountspb.AccountsClient, log *slog.Logger) *Watch {
	return &Watch{accounts: accounts, log: log, interval: checkInterval, watched: map[int64]map[*func()]bool{}}
}

// Add registers ended to be called once when the session ends. Calling remove cancels that;
// ended can still run concurrently with remove. Session 0 never ends: it stands for a caller
// without session, or an accounts module too old to return its number.
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

// Run checks sessions until ctx is cancelled. While the accounts module is unavailable,
// sessions are kept and the check is retried.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(w.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := w.check(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("check sessions failed; trying again", "error", err)
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
	for batch := range slices.Chunk(sessions, checkBatch) {
		if err := w.checkOnce(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// checkOnce checks up to checkBatch sessions and calls the callbacks of ended ones.
func (w *Watch) checkOnce(ctx context.Context, sessions []int64) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	response, err := w.accounts.CheckSessions(ctx, &accountspb.CheckSessionsRequest{SessionIds: sessions})
	if err != nil {
		return err
	}
	for _, session := range response.EndedSessionIds {
		w.mu.Lock()
		callbacks := w.watched[session]
		delete(w.watched, session)
		w.mu.Unlock()
		for ended := range callbacks {
			(*ended)()
		}
	}
	return nil
}
