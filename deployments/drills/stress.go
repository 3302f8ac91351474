package drills

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// impatient has people leave in the middle of what they asked for: of pages, of uploads,
// of streams. It returns how often.
func (c *crowd) impatient(ctx context.Context, long time.Duration) int64 {
	ctx, done := context.WithTimeout(ctx, long)
	defer done()
	var left atomic.Int64
	var group sync.WaitGroup
	session := c.followers[0].session
	leave := func(method, path string, body io.Reader, header http.Header) {
		within, gone := context.WithTimeout(ctx, rand.N(30*time.Millisecond))
		defer gone()
		site := c.site[c.next.Add(1)%uint64(len(c.site))]
		request, err := http.NewRequestWithContext(within, method, site+path, body)
		if err != nil {
			return
		}
		for name, values := range header {
			request.Header[name] = values
		}
		request.Header.Set("Cookie", session)
		response, err := c.http.Do(request)
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		if within.Err() != nil {
			left.Add(1)
		}
	}
	for range 6 {
		group.Go(func() {
			for ctx.Err() == nil {
				leave(http.MethodGet, "/talks?q=looms", nil, nil)
				leave(http.MethodGet, "/inbox/stream", nil, nil)
				leave(http.MethodPost, "/account/export", strings.NewReader("request_id="), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
			}
		})
	}
	group.Go(func() {
		for ctx.Err() == nil {
			within, gone := context.WithTimeout(ctx, rand.N(120*time.Millisecond))
			if c.uploader.upload(within) != nil {
				left.Add(1)
			}
			gone()
		}
	})
	group.Wait()
	return left.Load()
}

// hammer asks for pages as fast as they are answered, from many at once, for a while, and
// returns how many were answered and how many were told when to come back.
func (c *crowd) hammer(ctx context.Context, many int, long time.Duration) (answered, sentAway int64) {
	ctx, done := context.WithTimeout(ctx, long)
	defer done()
	c.account.mu.Lock()
	before, beforeAway := c.account.answered, sum(c.account.sentAway)
	c.account.mu.Unlock()
	var group sync.WaitGroup
	for i := range many {
		group.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				_, _ = c.once(ctx, "", http.MethodGet, []string{"/talks?q=looms", "/talks", "/channels/looms", "/"}[n%4], nil, nil) // it is counted
			}
		})
	}
	group.Wait()
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	return int64(c.account.answered - before), int64(sum(c.account.sentAway) - beforeAway)
}

// dawdle opens a follower's stream and reads nothing of it for a while; then what is left
// of it is read, and it returns how many bytes that was.
func (c *crowd) dawdle(ctx context.Context, f *follower, long time.Duration) (int64, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	host := strings.TrimPrefix(c.site[0], "http://")
	connection, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return 0, err
	}
	defer connection.Close()
	if err := connection.(*net.TCPConn).SetReadBuffer(2048); err != nil {
		return 0, err
	}
	if _, err := fmt.Fprintf(connection, "GET /inbox/stream HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\n\r\n", host, f.session); err != nil {
		return 0, err
	}
	pause(ctx, long)
	_ = connection.SetReadDeadline(time.Now().Add(10 * time.Second))
	return io.Copy(io.Discard, connection)
}
