package media

import (
	"context"

	"techtalks.example/logic-tier/platform/caller"
)

// asker is who a call is made for.
type asker struct {
	account int64
	// module: one of the logic tier's own asks, which says itself for whom.
	module bool
}

// whoAsks finds out for whom a call is made; an error for the web tier without a
// person, who has no uploads.
func whoAsks(ctx context.Context) (asker, error) {
	if caller.From(ctx).Program == caller.Module {
		return asker{module: true}, nil
	}
	account, err := caller.Account(ctx)
	if account == caller.AllAccounts {
		account = operator
	}
	return asker{account: account}, err
}

// mayUse says whether an upload is there for who asks.
func (a asker) mayUse(u upload) bool { return a.module || a.account == u.account }
