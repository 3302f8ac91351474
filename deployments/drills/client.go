package drills

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// callTimeout bounds one attempt of a request.
	callTimeout = 12 * time.Second
	// retryPause is the pause between two attempts without Retry-After.
	retryPause = 150 * time.Millisecond
	// maxRetryPause caps Retry-After, since drills are short.
	maxRetryPause = 2 * time.Second
)

// siteClient sends the requests of all clients. Like a simple load balancer it rotates over
// the web tiers, and tries the next one when a connection fails.
type siteClient struct {
	sites []string
	http  *http.Client
	next  atomic.Uint64
	tally tally
}

// tally counts the outcomes of requests.
type tally struct {
	mu           sync.Mutex
	answered     int
	stale        int
	rejected     map[string]int // with Retry-After, by request
	unreachable  int            // no web tier answered
	unexpected   map[string]int // errors without Retry-After, by request
	firstSuccess chan time.Time // receives the time of the next success; nil if not awaited
}

func newSiteClient(sites []string) *siteClient {
	return &siteClient{sites: sites, tally: tally{rejected: map[string]int{}, unexpected: map[string]int{}}, http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 32, ResponseHeaderTimeout: callTimeout, DialContext: dialWithin(time.Second)},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// reply is a response with its whole body.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) String() string { return fmt.Sprintf("%d %.200q", r.status, r.body) }

// nextSite returns the address of the next web tier.
func (c *siteClient) nextSite() string { return c.sites[c.next.Add(1)%uint64(len(c.sites))] }

// send sends a request to one web tier after the other, until one answers.
func (c *siteClient) send(ctx context.Context, session, method, path string, header http.Header, body []byte) (reply, error) {
	first := c.next.Add(1)
	var errs error
	for i := range len(c.sites) {
		site := c.sites[(first+uint64(i))%uint64(len(c.sites))]
		r, err := c.sendTo(ctx, site, session, method, path, header, body)
		if err == nil {
			c.tally.record(method, path, r)
			return r, nil
		}
		errs = errors.Join(errs, err)
		if ctx.Err() != nil {
			return reply{}, ctx.Err()
		}
	}
	c.tally.mu.Lock()
	c.tally.unreachable++
	c.tally.mu.Unlock()
	return reply{}, errs
}

func (c *siteClient) sendTo(ctx context.Context, site, session, method, path string, header http.Header, body []byte) (reply, error) {
	ctx, done := context.WithTimeout(ctx, callTimeout)
	defer done()
	request, err := http.NewRequestWithContext(ctx, method, site+path, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	if session != "" {
		request.Header.Set("Cookie", session)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return reply{}, err
	}
	return reply{response.StatusCode, response.Header, content}, nil
}

// record counts a reply. A public page with an Age is a stale one.
func (t *tally) record(method, path string, r reply) {
	t.mu.Lock()
	defer t.mu.Unlock()
	request := fmt.Sprintf("%s %s: %d", method, path, r.status)
	switch {
	case r.header.Get("Age") != "":
		t.stale++
	case r.status < 500 && r.status != http.StatusTooManyRequests:
		t.answered++
		select {
		case t.firstSuccess <- time.Now():
			t.firstSuccess = nil
		default:
		}
	case r.header.Get("Retry-After") != "":
		t.rejected[request]++
	default:
		t.unexpected[request]++
	}
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}

// awaitSuccess returns a channel that receives the time of the next successful response.
func (t *tally) awaitSuccess() <-chan time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.firstSuccess = make(chan time.Time, 1)
	return t.firstSuccess
}

// retry sends a request until it is answered with one of the statuses, honouring
// Retry-After. It fails when ctx is done, or on any other status below 500 except 429.
func (c *siteClient) retry(ctx context.Context, session, method, path string, header http.Header, body []byte, statuses ...int) (reply, error) {
	for {
		r, err := c.send(ctx, session, method, path, header, body)
		if err == nil {
			for _, s := range statuses {
				if r.status == s {
					return r, nil
				}
			}
			if r.status < 500 && r.status != http.StatusTooManyRequests {
				return r, fmt.Errorf("%s %s: got %s, want status %v", method, path, r, statuses)
			}
		}
		pause := retryPause
		if after, parseErr := time.ParseDuration(r.header.Get("Retry-After") + "s"); err == nil && parseErr == nil {
			pause = min(after, maxRetryPause)
		}
		select {
		case <-ctx.Done():
			return r, fmt.Errorf("%s %s: %w; last attempt: %s, %w", method, path, ctx.Err(), r, err)
		case <-time.After(pause):
		}
	}
}

// postForm posts a form until it is answered with one of the statuses.
func (c *siteClient) postForm(ctx context.Context, session, path string, form url.Values, statuses ...int) (reply, error) {
	return c.retry(ctx, session, http.MethodPost, path, http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"},
	}, []byte(form.Encode()), statuses...)
}

// signUp creates an account and returns the value of its Cookie header.
func (c *siteClient) signUp(ctx context.Context, handle string) (session string, err error) {
	r, err := c.postForm(ctx, "", "/sign-up", url.Values{"handle": {handle}, "name": {handle}, "password": {"password of " + handle}}, http.StatusSeeOther)
	if err != nil {
		return "", err
	}
	for _, line := range r.header.Values("Set-Cookie") {
		cookie, err := http.ParseSetCookie(line)
		if err == nil && strings.Contains(cookie.Name, "session") {
			return cookie.Name + "=" + cookie.Value, nil
		}
	}
	return "", fmt.Errorf("sign up as %s: no session cookie in %v", handle, r.header)
}
