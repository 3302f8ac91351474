package media

import (
	"context"

	"techtalks.example/logic-tier/platform/caller"
)

// principal is the identity on whose behalf a call is made.
type principal struct {
	account int64
	// module: the caller is another module, which names the account in its request.
	module bool
}

// principalFrom returns the principal of the call. It fails for calls of the web tier
// without a user: an anonymous user has no uploads.
func principalFrom(ctx context.Context) (principal, error) {
	if caller.From(ctx).Program == caller.Module {
		return principal{module: true}, nil
	}
	account, err := caller.Account(ctx)
	if account == caller.AllAccounts {
		account = operatorAccount
	}
	return principal{account: account}, err
}

// canAccess reports whether the principal can access an upload.
func (p principal) canAccess(u upload) bool { return p.module || p.account == u.account }
