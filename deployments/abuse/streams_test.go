package abuse

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"techtalks.example/deployments/journey"
	"techtalks.example/deployments/local/localtest"
)

const openStreams = 2000

// One session opens many streams of its inbox. Everyone else's still open, and deliver.
func TestStreamsOfOneSessionLeaveOthersServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	eve := newClient(t, site.URL, attacker)
	eve.signUp("eve")
	attack := &flood{connections: openStreams, request: func(int) (string, string) {
		return attacker, "GET /inbox/stream HTTP/1.1\r\nHost: " + strings.TrimPrefix(site.URL, "http://") + "\r\n" + eve.cookie() + "\r\n\r\n"
	}}
	others := newBystander(t, site)
	publisher := newPublisher(t, site)
	publisher.followedBy(others.client)
	others.also = func(ctx context.Context) map[string]result {
		return map[string]result{"stream": {others.hears(ctx, publisher), "heard"}}
	}
	others.duringAttack("2,000 streams of one session", func(ctx context.Context) { attack.run(ctx, t, site) })
}

// hears opens the client's stream and returns "heard" when a talk that is published then
// arrives, or else why not.
func (c *client) hears(ctx context.Context, from *publisher) string {
	ctx, end := context.WithTimeout(ctx, requestTimeout)
	defer end()
	stream, err := c.openStream(ctx)
	if err != nil {
		return err.Error()
	}
	defer stream.Close()
	return from.heardOn(ctx, stream)
}

// openStream opens the stream of the client's inbox, which ends with ctx.
func (c *client) openStream(ctx context.Context) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.site+"/inbox/stream", nil)
	if err != nil {
		return nil, err
	}
	lasting := *c.http
	lasting.Timeout = 0
	response, err := lasting.Do(request)
	if err != nil {
		return nil, err
	}
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream") {
		_ = response.Body.Close()
		return nil, fmt.Errorf("the stream answers %s, %s", response.Status, kind)
	}
	return response.Body, nil
}

// publisher is somebody with a channel, at the bystanders' address.
type publisher struct {
	*client
	channel string // its path
}

func newPublisher(t *testing.T, site *localtest.Site) *publisher {
	t.Helper()
	p := &publisher{client: newClient(t, site.URL, elsewhere)}
	p.signUp("publisher")
	slug := journey.UniqueName("channel")
	if got := p.do(t.Context(), "/channels", url.Values{"slug": {slug}, "title": {"News"}}); got != "303" {
		t.Fatalf("create a channel: %s", got)
	}
	p.channel = "/channels/" + slug
	return p
}

func (p *publisher) followedBy(c *client) {
	p.t.Helper()
	if got := c.do(p.t.Context(), p.channel+"/follow", url.Values{}); got != "303" {
		p.t.Fatalf("follow: %s", got)
	}
}

// publish publishes a talk with a new title, and returns that and the status.
func (p *publisher) publish(ctx context.Context) (title, status string) {
	title = journey.UniqueName("talk")
	return title, p.do(ctx, p.channel+"/talks", url.Values{"title": {title}})
}

// heardOn returns "heard" when a talk that is published now arrives on a stream that has
// begun, or else why not.
func (p *publisher) heardOn(ctx context.Context, stream io.Reader) string {
	lines := bufio.NewScanner(stream)
	if !lines.Scan() { // the pause before a reconnect comes first
		return fmt.Sprint("the stream ends at once: ", lines.Err())
	}
	title, got := p.publish(ctx)
	if got != "303" {
		return "publish: " + got
	}
	for lines.Scan() {
		if strings.Contains(lines.Text(), title) {
			return "heard"
		}
	}
	return fmt.Sprint("the stream ends: ", lines.Err())
}
