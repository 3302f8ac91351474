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

// disconnectRepeatedly cancels page requests, streams, forms and uploads after a random time,
// for d. It returns the number of cancelled requests.
func (w *workload) disconnectRepeatedly(ctx context.Context, d time.Duration) int64 {
	ctx, done := context.WithTimeout(ctx, d)
	defer done()
	var cancelled atomic.Int64
	var group sync.WaitGroup
	session := w.followers[0].session
	sendAndCancel := func(method, path string, body io.Reader, header http.Header) {
		requestCtx, cancel := context.WithTimeout(ctx, rand.N(30*time.Millisecond))
		defer cancel()
		request, err := http.NewRequestWithContext(requestCtx, method, w.nextSite()+path, body)
		if err != nil {
			return
		}
		for name, values := range header {
			request.Header[name] = values
		}
		request.Header.Set("Cookie", session)
		response, err := w.http.Do(request)
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		}
		if requestCtx.Err() != nil {
			cancelled.Add(1)
		}
	}
	for range 6 {
		group.Go(func() {
			for ctx.Err() == nil {
				sendAndCancel(http.MethodGet, "/talks?q=looms", nil, nil)
				sendAndCancel(http.MethodGet, "/inbox/stream", nil, nil)
				sendAndCancel(http.MethodPost, "/account/export", strings.NewReader("request_id="), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}})
			}
		})
	}
	group.Go(func() {
		for ctx.Err() == nil {
			uploadCtx, cancel := context.WithTimeout(ctx, rand.N(120*time.Millisecond))
			if w.uploader.upload(uploadCtx) != nil {
				cancelled.Add(1)
			}
			cancel()
		}
	})
	group.Wait()
	return cancelled.Load()
}

// overload requests pages without pause from many concurrent clients, for d. It returns how
// many requests were answered and how many were rejected with Retry-After.
func (w *workload) overload(ctx context.Context, clients int, d time.Duration) (answered, rejected int64) {
	ctx, done := context.WithTimeout(ctx, d)
	defer done()
	w.tally.mu.Lock()
	answeredBefore, rejectedBefore := w.tally.answered, sum(w.tally.rejected)
	w.tally.mu.Unlock()
	var group sync.WaitGroup
	for i := range clients {
		group.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				_, _ = w.send(ctx, "", http.MethodGet, []string{"/talks?q=looms", "/talks", "/channels/looms", "/"}[n%4], nil, nil) // the tally counts it
			}
		})
	}
	group.Wait()
	w.tally.mu.Lock()
	defer w.tally.mu.Unlock()
	return int64(w.tally.answered - answeredBefore), int64(sum(w.tally.rejected) - rejectedBefore)
}

// stallStream opens a follower's stream, reads nothing for d, and then reads the rest. It
// returns the number of bytes read, and an error unless the server had closed the stream.
func (w *workload) stallStream(ctx context.Context, f *follower, d time.Duration) (int64, error) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	host := strings.TrimPrefix(w.sites[0], "http://")
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
	pause(ctx, d)
	_ = connection.SetReadDeadline(time.Now().Add(10 * time.Second))
	return io.Copy(io.Discard, connection)
}
