package abuse

import (
	"context"
	"io"
	"net/url"
	"testing"
	"time"

	"techtalks.example/deployments/local/localtest"
)

// An account signs out everywhere because a thief holds one of its sessions. The stream and the
// long poll of that session are closed; the stream of another account is not.
func TestSignOutEverywhereClosesStreamsAndLongPolls(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute) // far below the lifetime of a stream
	defer cancel()
	thief, owner, other := newClient(t, site.URL, attacker), newClient(t, site.URL, bystanderAddress), newClient(t, site.URL, bystanderAddress)
	handle := owner.signUp("grace")
	if got := thief.do(ctx, "/sign-in", url.Values{"handle": {handle}, "password": {passwordOf(handle)}}); got != "303" {
		t.Fatalf("sign in a second time: got %s, want 303", got)
	}
	other.signUp("other")
	publisher := newPublisher(t, site)
	publisher.followedBy(other)
	var streams [2]io.ReadCloser
	for i, c := range []*client{thief, other} {
		var err error
		if streams[i], err = c.openStream(ctx); err != nil {
			t.Fatal(err)
		}
		defer streams[i].Close()
	}
	thief.http.Timeout = 0 // ctx bounds the long poll
	answered := make(chan string, 1)
	go func() { answered <- thief.do(ctx, "/inbox/wait?timeout=60s", nil) }()
	site.Until("the long poll is open", func() bool { return site.LongPolls() == 1 })

	if got := owner.do(ctx, "/account/sign-out-everywhere", url.Values{}); got != "303" {
		t.Fatalf("sign out everywhere: got %s, want 303", got)
	}
	if got := <-answered; got != "401" {
		t.Errorf("long poll: got %s, want 401", got)
	}
	if _, err := io.Copy(io.Discard, streams[0]); err != nil {
		t.Errorf("the stream was not closed: %v", err)
	}
	if got := thief.do(ctx, "/inbox/since", nil); got != "401" {
		t.Errorf("short poll: got %s, want 401", got)
	}
	if got := publisher.publishTo(ctx, streams[1]); got != "received" {
		t.Errorf("stream of another account: %s", got)
	}
}
