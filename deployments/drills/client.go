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
	// callTime bounds one try of a request.
	callTime = 12 * time.Second
	// retryPause is between two tries when nothing was said about when to come back.
	retryPause = 150 * time.Millisecond
	// longPause is the longest that is waited when it was said: drills are short.
	longPause = 2 * time.Second
)

// visitors is everybody who uses the site, behind a load balancer as simple as can be: it
// goes on to the next web tier when one cannot be connected to, or breaks off.
type visitors struct {
	site    []string
	http    *http.Client
	next    atomic.Uint64
	account account
}

// account counts what came of requests.
type account struct {
	mu         sync.Mutex
	answered   int
	stale      int            // with the page as it had been
	sentAway   map[string]int // told when to come back, by what it was
	unanswered int            // no web tier at all
	rude       map[string]int // neither answered nor told when to come back, by what it was
	firstGood  chan time.Time // the first one after it was asked for
}

func newVisitors(site []string) *visitors {
	return &visitors{site: site, account: account{sentAway: map[string]int{}, rude: map[string]int{}}, http: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 32, ResponseHeaderTimeout: callTime, DialContext: dialWithin(time.Second)},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// reply is an answer.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (r reply) String() string { return fmt.Sprintf("%d %.200q", r.status, r.body) }

// once asks for something once, of whichever web tier there is.
func (v *visitors) once(ctx context.Context, session, method, path string, header http.Header, body []byte) (reply, error) {
	first := v.next.Add(1)
	var failed error
	for i := range len(v.site) {
		site := v.site[(first+uint64(i))%uint64(len(v.site))]
		r, err := v.at(ctx, site, session, method, path, header, body)
		if err == nil {
			v.account.count(method, path, r)
			return r, nil
		}
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			return reply{}, ctx.Err()
		}
	}
	v.account.mu.Lock()
	v.account.unanswered++
	v.account.mu.Unlock()
	return reply{}, failed
}

func (v *visitors) at(ctx context.Context, site, session, method, path string, header http.Header, body []byte) (reply, error) {
	ctx, done := context.WithTimeout(ctx, callTime)
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
	response, err := v.http.Do(request)
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

func (a *account) count(method, path string, r reply) {
	a.mu.Lock()
	defer a.mu.Unlock()
	what := fmt.Sprintf("%s %s: %d", method, path, r.status)
	switch {
	case r.header.Get("Age") != "":
		a.stale++
	case r.status < 500 && r.status != http.StatusTooManyRequests:
		a.answered++
		select {
		case a.firstGood <- time.Now():
			a.firstGood = nil
		default:
		}
	case r.header.Get("Retry-After") != "":
		a.sentAway[what]++
	default:
		a.rude[what]++
	}
}

func sum(counts map[string]int) (n int) {
	for _, times := range counts {
		n += times
	}
	return n
}

// awaitGood returns a channel that has the time of the first answer from now on.
func (a *account) awaitGood() <-chan time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.firstGood = make(chan time.Time, 1)
	return a.firstGood
}

// until asks until it is answered with one of the statuses, which must be so before ctx
// ends: it comes back when it is told to.
func (v *visitors) until(ctx context.Context, session, method, path string, header http.Header, body []byte, statuses ...int) (reply, error) {
	var last reply
	var failed error
	for {
		last, failed = v.once(ctx, session, method, path, header, body)
		if failed == nil {
			for _, s := range statuses {
				if last.status == s {
					return last, nil
				}
			}
			if last.status < 500 && last.status != http.StatusTooManyRequests {
				return last, fmt.Errorf("%s %s is answered with %s", method, path, last)
			}
		}
		pause := retryPause
		if after, err := time.ParseDuration(last.header.Get("Retry-After") + "s"); failed == nil && err == nil {
			pause = min(after, longPause)
		}
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("%s %s: %w; at last %s, %w", method, path, ctx.Err(), last, failed)
		case <-time.After(pause):
		}
	}
}

// form posts a form until it is taken.
func (v *visitors) form(ctx context.Context, session, path string, form url.Values, statuses ...int) (reply, error) {
	return v.until(ctx, session, http.MethodPost, path, http.Header{
		"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"},
	}, []byte(form.Encode()), statuses...)
}

// signUp makes an account and returns its session's cookie, as the Cookie header has it.
func (v *visitors) signUp(ctx context.Context, handle string) (session string, err error) {
	r, err := v.form(ctx, "", "/sign-up", url.Values{"handle": {handle}, "name": {handle}, "password": {"password of " + handle}}, http.StatusSeeOther)
	if err != nil {
		return "", err
	}
	for _, line := range r.header.Values("Set-Cookie") {
		cookie, err := http.ParseSetCookie(line)
		if err == nil && strings.Contains(cookie.Name, "session") {
			return cookie.Name + "=" + cookie.Value, nil
		}
	}
	return "", fmt.Errorf("signing up as %s gives no session: %v", handle, r.header)
}
