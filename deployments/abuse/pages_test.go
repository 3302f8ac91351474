package abuse

import (
	"context"
	"fmt"
	"testing"

	"techtalks.example/deployments/local/localtest"
)

// One account sends a different search in every request, as fast as responses arrive.
func TestFloodOfPagesLeavesOthersServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	others := newBystander(t, site)
	eve := newClient(t, site.URL, attacker)
	eve.signUp("eve")
	others.duringAttack("searches over 100 connections", func(ctx context.Context) {
		repeat(ctx, t, site, func(_ *client, i int) string { return eve.do(ctx, fmt.Sprintf("/talks?q=design+%d", i), nil) })
	})
}
