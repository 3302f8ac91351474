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

// One session opens many streams of its inbox. Streams of other clients still open and deliver.
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
	others.extra = func(ctx context.Context) map[string]result {
		return map[string]result{"stream": {others.receives(ctx, publisher), "received"}}
	}
	others.duringAttack("2,000 streams of one session", func(ctx context.Context) { attack.run(ctx, t, site) })
}

// receives opens the client's stream and lets p publish a talk. It returns "received" if the
// notification arrives, or else the reason.
func (c *client) receives(ctx context.Context, p *publisher) string {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := c.openStream(ctx)
	if err != nil {
		return err.Error()
	}
	defer stream.Close()
	return p.publishTo(ctx, stream)
}

// openStream opens the stream of the client's inbox. It closes when ctx is done.
func (c *client) openStream(ctx context.Context) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.site+"/inbox/stream", nil)
	if err != nil {
		return nil, err
	}
	untimed := *c.http
	untimed.Timeout = 0
	response, err := untimed.Do(request)
	if err != nil {
		return nil, err
	}
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "text/event-stream") {
		_ = response.Body.Close()
		return nil, fmt.Errorf("open the stream: got %s, %s", response.Status, kind)
	}
	return response.Body, nil
}

// publisher is a client with a channel, at the bystander's address.
type publisher struct {
	*client
	channel string // path
}

func newPublisher(t *testing.T, site *localtest.Site) *publisher {
	t.Helper()
	p := &publisher{client: newClient(t, site.URL, bystanderAddress)}
	p.signUp("publisher")
	slug := journey.UniqueName("channel")
	if got := p.do(t.Context(), "/channels", url.Values{"slug": {slug}, "title": {"News"}}); got != "303" {
		t.Fatalf("create a channel: got %s, want 303", got)
	}
	p.channel = "/channels/" + slug
	return p
}

func (p *publisher) followedBy(c *client) {
	p.t.Helper()
	if got := c.do(p.t.Context(), p.channel+"/follow", url.Values{}); got != "303" {
		p.t.Fatalf("follow: got %s, want 303", got)
	}
}

// publish publishes a talk with a unique title, and returns the title and the status.
func (p *publisher) publish(ctx context.Context) (title, status string) {
	title = journey.UniqueName("talk")
	return title, p.do(ctx, p.channel+"/talks", url.Values{"title": {title}})
}

// publishTo publishes a talk and returns "received" if its notification arrives on stream, or
// else the reason.
func (p *publisher) publishTo(ctx context.Context, stream io.Reader) string {
	lines := bufio.NewScanner(stream)
	if !lines.Scan() { // the first line is the reconnect delay
		return fmt.Sprint("the stream closed immediately: ", lines.Err())
	}
	title, status := p.publish(ctx)
	if status != "303" {
		return "publish: " + status
	}
	for lines.Scan() {
		if strings.Contains(lines.Text(), title) {
			return "received"
		}
	}
	return fmt.Sprint("the stream closed: ", lines.Err())
}
