package abuse

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"techtalks.example/deployments/local/localtest"
)

// flood sends one request on each of many connections, and reconnects after reconnectPause
// when the server closes one.
type flood struct {
	connections int
	// request returns the source address of a connection and the bytes to send.
	request func(connection int) (address, bytes string)
	// unread leaves the bodies of answers with status 200 unread, with a receive buffer as
	// small as the system allows.
	unread bool

	answers tally
}

const reconnectPause = time.Second

// run attacks until ctx ends, and logs how the server answered.
func (f *flood) run(ctx context.Context, t *testing.T, site *localtest.Site) {
	var sending sync.WaitGroup
	for i := range f.connections {
		address, bytes := f.request(i)
		sending.Go(func() {
			for ctx.Err() == nil {
				f.connect(ctx, strings.TrimPrefix(site.URL, "http://"), address, bytes)
				pause(ctx)
			}
		})
	}
	sending.Wait()
	t.Logf("the attacker gets %v", f.answers.got)
}

// connect sends bytes on a new connection and holds it until either side closes it.
func (f *flood) connect(ctx context.Context, site, address, bytes string) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: requestTimeout}
	if f.unread {
		dialer.Control = smallBuffer
	}
	connection, err := dialer.DialContext(ctx, "tcp", site)
	if err != nil {
		f.answers.count("no connection")
		return
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	if _, err := io.WriteString(connection, bytes); err != nil {
		f.answers.count("cut off")
		return
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil) //nolint:bodyclose // closed with the connection
	if err != nil {
		f.answers.count("no answer")
		return
	}
	f.answers.count(response.Status)
	if f.unread && response.StatusCode == http.StatusOK {
		<-ctx.Done()
		return
	}
	_, _ = io.Copy(io.Discard, response.Body) // until the server or ctx ends it
}

func smallBuffer(_, _ string, socket syscall.RawConn) error {
	var failed error
	err := socket.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1) })
	return errors.Join(err, failed)
}

// pause waits for reconnectPause or the end of ctx.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(reconnectPause):
	}
}

// tally counts answers by status.
type tally struct {
	mu  sync.Mutex
	got map[string]int
}

func (t *tally) count(status string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.got == nil {
		t.got = map[string]int{}
	}
	t.got[status]++
}

func (t *tally) of(status string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.got[status]
}
