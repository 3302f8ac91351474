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

// unfinishedForms is as many as the web tier processes at the same time.
const unfinishedForms = 256

// One address sends the first byte of many forms and then nothing.
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

// unfinishedStreams sends unfinishedForms over three connections: the web tier allows
// 100 streams on each.
func unfinishedStreams(ctx context.Context, t *testing.T, site *localtest.Site) {
	var answers tally
	var sending sync.WaitGroup
	var transports [3]*http.Transport
	for i := range transports {
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(attacker)}}
		transports[i] = &http.Transport{
			DialContext: dialer.DialContext, Protocols: new(http.Protocols),
			HTTP2: &http.HTTP2Config{StrictMaxConcurrentRequests: true}, // no further connections
		}
		transports[i].Protocols.SetUnencryptedHTTP2(true)
		defer transports[i].CloseIdleConnections()
	}
	for i := range unfinishedForms {
		sending.Go(func() {
			for ctx.Err() == nil {
				answers.count(unfinishedForm(ctx, transports[i%len(transports)], site.URL))
				pause(ctx)
			}
		})
	}
	sending.Wait()
	t.Logf("the attacker gets %v", answers.got)
}

func unfinishedForm(ctx context.Context, transport *http.Transport, site string) string {
	ctx, end := context.WithCancel(ctx)
	defer end()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, site+"/sign-in", &unfinished{ctx: ctx})
	if err != nil {
		return err.Error()
	}
	request.ContentLength = 100
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "no answer"
	}
	_ = response.Body.Close()
	return fmt.Sprintf("%s %s", response.Proto, response.Status)
}

// unfinished is a body of one byte that does not end before ctx does.
type unfinished struct {
	ctx  context.Context
	sent bool
}

func (u *unfinished) Read(into []byte) (int, error) {
	if !u.sent {
		u.sent = true
		return copy(into, "h"), nil
	}
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}
