package abuse

import (
	"context"
	"fmt"
	"net/url"
	"sync"
	"testing"

	"techtalks.example/deployments/local/localtest"
)

const (
	attackAccounts    = 24 // below the limit of 30 sign-ups per address and hour
	attackConnections = 100
)

func TestCorrectSignInsLeaveOthersServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	others := newBystander(t, site)
	var forms []url.Values
	for i := range attackAccounts {
		handle := newClient(t, site.URL, attacker).signUp(fmt.Sprint("eve-", i))
		forms = append(forms, url.Values{"handle": {handle}, "password": {passwordOf(handle)}})
	}
	others.duringAttack("correct sign-ins", func(ctx context.Context) {
		repeat(ctx, t, site, func(c *client, i int) string { return c.do(ctx, "/sign-in", forms[i%len(forms)]) })
	})
}

// One account follows and unfollows one channel, so that its requests contend for the same row.
func TestContendedFollowsLeaveOthersServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	others := newBystander(t, site)
	eve := newClient(t, site.URL, attacker)
	eve.signUp("eve")
	others.duringAttack("follows of one channel", func(ctx context.Context) {
		repeat(ctx, t, site, func(_ *client, i int) string {
			return eve.do(ctx, "/channels/adas-notebook/"+[]string{"follow", "unfollow"}[i%2], url.Values{})
		})
	})
}

// repeat sends requests over attackConnections connections until ctx is done, and logs the
// responses.
func repeat(ctx context.Context, t *testing.T, site *localtest.Site, send func(c *client, i int) string) {
	var responses tally
	var sending sync.WaitGroup
	for connection := range attackConnections {
		sending.Go(func() {
			c := newClient(t, site.URL, attacker)
			for i := connection; ctx.Err() == nil; i++ {
				status := send(c, i)
				if ctx.Err() != nil {
					return
				}
				responses.add(status)
			}
		})
	}
	sending.Wait()
	t.Logf("responses to the attacker: %v", responses.counts)
}
