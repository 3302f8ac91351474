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
	// admittedDownloads is the number of downloads that start before the bystander's requests.
	// The logic tier rejects some, and the web tier those above the share of 128 per address.
	admittedDownloads = 100
	// downloadSize exceeds the buffers of a connection.
	downloadSize = 8 << 20
)

// maxDownloadGrowth bounds the memory growth of each tier during the attack. It is above the
// tier's own soft limit. Without admission limits the attack adds 600 to 900 MB.
var maxDownloadGrowth = map[string]int64{"web-tier": 640 << 20, "logic-tier": 400 << 20}

// Three addresses open more downloads than their shares and read none of them.
func TestUnreadDownloadsLeaveOthersServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	addresses := []string{attacker, "127.0.0.67", "127.0.0.68"}
	eve := newClient(t, site.URL, attacker)
	handle := eve.signUp("eve")
	attackPath := eve.store(downloadContent())
	// Sessions have shares too: it takes 24 sessions to use up the shares of the addresses.
	var sessions []string
	for i := range 24 {
		c := newClient(t, site.URL, addresses[i%len(addresses)])
		if got := c.do(t.Context(), "/sign-in", url.Values{"handle": {handle}, "password": {passwordOf(handle)}}); got != "303" {
			t.Fatalf("sign in as the attacker: got %s, want 303", got)
		}
		sessions = append(sessions, c.cookie())
	}
	attack := &flood{connections: unreadDownloads, unread: true, request: func(i int) (string, string) {
		return addresses[i%len(addresses)], "GET " + attackPath + " HTTP/1.1\r\nHost: " + strings.TrimPrefix(site.URL, "http://") +
			"\r\n" + sessions[i%len(sessions)] + "\r\n\r\n"
	}}
	others := newBystander(t, site)
	content := downloadContent()
	path := others.store(content)
	others.extra = func(ctx context.Context) map[string]result {
		got := others.send(ctx, http.MethodGet, path, nil, nil)
		if got.status == "200" && !bytes.Equal(got.body, content) {
			got.status = fmt.Sprintf("%d bytes that differ from the upload", len(got.body))
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
	site.Until("most unread downloads have started", func() bool { return attack.responses.of("200 OK") >= admittedDownloads })
	others.duringAttack("500 unread downloads", func(ctx context.Context) { <-ctx.Done() })
	for tier, limit := range maxDownloadGrowth {
		growth := site.PeakMemory(tier) - before[tier]
		t.Logf("%s grows by %d MB", tier, growth>>20)
		if growth > limit {
			t.Errorf("memory growth of %s: got %d MB, want at most %d MB", tier, growth>>20, limit>>20)
		}
	}
}

// store uploads content and returns the path to download it from.
func (c *client) store(content []byte) string {
	c.t.Helper()
	upload := c.upload(c.t.Context(), content)
	if upload.status != "201" {
		c.t.Fatalf("upload %d bytes: %s %.300s", len(content), upload.status, upload.body)
	}
	_, id, _ := strings.Cut(upload.header.Get("Location"), "/uploads/")
	return "/files/" + id
}

func downloadContent() []byte {
	content := make([]byte, downloadSize)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // never fails
	return content
}
