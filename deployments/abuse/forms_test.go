package abuse

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"techtalks.example/deployments/local/localtest"
)

// unfinishedForms is the number of requests that the web tier processes concurrently.
const unfinishedForms = 256

// One address sends the first byte of many forms and then stalls.
func TestUnfinishedFormsLeaveOthersServed(t *testing.T) {
	t.Parallel()
	t.Run("HTTP1", func(t *testing.T) {
		site := localtest.Up(t, localtest.Folder(t))
		attack := &flood{connections: unfinishedForms, request: func(int) (string, string) {
			return attacker, "POST /sign-in HTTP/1.1\r\nHost: " + strings.TrimPrefix(site.URL, "http://") +
				"\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nh"
		}}
		newBystander(t, site).duringAttack("256 unfinished forms", func(ctx context.Context) { attack.run(ctx, t, site) })
	})
	t.Run("HTTP2", func(t *testing.T) {
		site := localtest.Up(t, localtest.Folder(t))
		newBystander(t, site).duringAttack("256 unfinished forms on 3 HTTP/2 connections", func(ctx context.Context) {
			unfinishedStreams(ctx, t, site)
		})
	})
}

// unfinishedStreams sends unfinishedForms over three HTTP/2 connections: the web tier allows 100
// streams on each.
func unfinishedStreams(ctx context.Context, t *testing.T, site *localtest.Site) {
	var responses tally
	var sending sync.WaitGroup
	var transports [3]*http.Transport
	for i := range transports {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(attacker)}}
		transports[i] = &http.Transport{
			DialContext: dialer.DialContext, Protocols: new(http.Protocols),
			HTTP2: &http.HTTP2Config{StrictMaxConcurrentRequests: true}, // do not open more connections
		}
		transports[i].Protocols.SetUnencryptedHTTP2(true)
		defer transports[i].CloseIdleConnections()
	}
	for i := range unfinishedForms {
		sending.Go(func() {
			for ctx.Err() == nil {
				responses.add(unfinishedForm(ctx, transports[i%len(transports)], site.URL))
				pause(ctx)
			}
		})
	}
	sending.Wait()
	t.Logf("responses to the attacker: %v", responses.counts)
}

func unfinishedForm(ctx context.Context, transport *http.Transport, site string) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, site+"/sign-in", &unfinishedBody{ctx: ctx})
	if err != nil {
		return err.Error()
	}
	request.ContentLength = 100
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "no response"
	}
	_ = response.Body.Close()
	return fmt.Sprintf("%s %s", response.Proto, response.Status)
}

// unfinishedBody is a request body of one byte that stalls until ctx is done.
type unfinishedBody struct {
	ctx  context.Context
	sent bool
}

func (b *unfinishedBody) Read(p []byte) (int, error) {
	if !b.sent {
		b.sent = true
		return copy(p, "h"), nil
	}
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}
