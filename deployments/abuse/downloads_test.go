package abuse

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"techtalks.example/deployments/local/localtest"
)

const (
	unreadDownloads = 500
	// heldDownloads of them are let in: the logic tier refuses some, and the web tier what
	// is beyond the shares, 128 for each address.
	heldDownloads = 100
	// downloadSize is more than the buffers of a connection take.
	downloadSize = 8 << 20
)

// maxDownloadGrowth bounds what the attack adds to the memory of each tier. It is above the
// soft limit that the tier sets itself. Without bounds the attack adds 600 to 900 MB.
var maxDownloadGrowth = map[string]int64{"web-tier": 640 << 20, "logic-tier": 400 << 20}

// Three addresses open as many downloads as their share and more, and read none of them.
func TestUnreadDownloadsLeaveOthersServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	addresses := []string{attacker, "127.0.0.67", "127.0.0.68"}
	eve := newClient(t, site.URL, attacker)
	handle := eve.signUp("eve")
	path := eve.keep(downloadContent())
	// A session has a share as well: 24 of them use up the share of the addresses.
	var sessions []string
	for i := range 24 {
		c := newClient(t, site.URL, addresses[i%len(addresses)])
		if got := c.do(t.Context(), "/sign-in", url.Values{"handle": {handle}, "password": {passwordOf(handle)}}); got != "303" {
			t.Fatalf("the attacker signs in: %s", got)
		}
		sessions = append(sessions, c.cookie())
	}
	attack := &flood{connections: unreadDownloads, unread: true, request: func(i int) (string, string) {
		return addresses[i%len(addresses)], "GET " + path + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(site.URL, "http://") +
			"\r\n" + sessions[i%len(sessions)] + "\r\n\r\n"
	}}
	others := newBystander(t, site)
	content := downloadContent()
	own := others.keep(content)
	others.also = func(ctx context.Context) map[string]result {
		got := others.send(ctx, http.MethodGet, own, nil, nil)
		if got.status == "200" && !bytes.Equal(got.body, content) {
			got.status = fmt.Sprintf("%d bytes, not those that were sent", len(got.body))
		}
		return map[string]result{"download": {got.status, "200"}}
	}
	before := map[string]int64{}
	for tier := range maxDownloadGrowth {
		before[tier] = site.PeakMemory(tier)
	}
	ctx, stop := context.WithCancel(t.Context())
	var attacking sync.WaitGroup
	attacking.Go(func() { attack.run(ctx, t, site) })
	defer attacking.Wait()
	defer stop()
	site.Until("most unread downloads have begun", func() bool { return attack.answers.of("200 OK") >= heldDownloads })
	others.duringAttack("500 unread downloads", func(ctx context.Context) { <-ctx.Done() })
	for tier, bound := range maxDownloadGrowth {
		growth := site.PeakMemory(tier) - before[tier]
		t.Logf("%s grows by %d MB", tier, growth>>20)
		if growth > bound {
			t.Errorf("%s grows by %d MB, more than %d", tier, growth>>20, bound>>20)
		}
	}
}

// keep uploads content and returns the path to download it from.
func (c *client) keep(content []byte) string {
	c.t.Helper()
	kept := c.upload(c.t.Context(), content)
	if kept.status != "201" {
		c.t.Fatalf("upload %d bytes: %s %.300s", len(content), kept.status, kept.body)
	}
	_, id, _ := strings.Cut(kept.header.Get("Location"), "/uploads/")
	return "/files/" + id
}

func downloadContent() []byte {
	content := make([]byte, downloadSize)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // never fails
	return content
}
