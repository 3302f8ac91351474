package abuse

import (
	"context"
	"io"
	"net/url"
	"testing"
	"time"

	"techtalks.example/deployments/local/localtest"
)

// An account signs out everywhere, since somebody else holds one of its sessions: the
// stream and the long poll of that session end, and a stranger's stream does not.
func TestSigningOutEverywhereEndsStreamsAndLongPolls(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	ctx, end := context.WithTimeout(t.Context(), 2*time.Minute) // far less than the life of a stream
	defer end()
	thief, owner, stranger := newClient(t, site.URL, attacker), newClient(t, site.URL, elsewhere), newClient(t, site.URL, elsewhere)
	handle := owner.signUp("grace")
	if got := thief.do(ctx, "/sign-in", url.Values{"handle": {handle}, "password": {passwordOf(handle)}}); got != "303" {
		t.Fatalf("sign in a second time: %s", got)
	}
	stranger.signUp("stranger")
	publisher := newPublisher(t, site)
	publisher.followedBy(stranger)
	var streams [2]io.ReadCloser
	for i, c := range []*client{thief, stranger} {
		var err error
		if streams[i], err = c.openStream(ctx); err != nil {
			t.Fatal(err)
		}
		defer streams[i].Close()
	}
	thief.http.Timeout = 0 // ctx bounds the long poll
	answered := make(chan string, 1)
	go func() { answered <- thief.do(ctx, "/inbox/wait?timeout=60s", nil) }()
	site.Until("the long poll waits", func() bool { return site.LongPolls() == 1 })

	if got := owner.do(ctx, "/account/sign-out-everywhere", url.Values{}); got != "303" {
		t.Fatalf("sign out everywhere: %s", got)
	}
	if got := <-answered; got != "401" {
		t.Errorf("the long poll answers %s, want 401", got)
	}
	if _, err := io.Copy(io.Discard, streams[0]); err != nil {
		t.Errorf("the stream does not end: %v", err)
	}
	if got := thief.do(ctx, "/inbox/since", nil); got != "401" {
		t.Errorf("a short poll answers %s, want 401", got)
	}
	if got := publisher.heardOn(ctx, streams[1]); got != "heard" {
		t.Errorf("a stranger's stream: %s", got)
	}
}
