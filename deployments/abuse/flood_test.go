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

// flood sends one request on each of many connections. When the server closes a connection, it
// reconnects after reconnectPause.
type flood struct {
	connections int
	// request returns the source address of a connection and the bytes to send.
	request func(connection int) (address, bytes string)
	// unread leaves the bodies of 200 responses unread, with the smallest receive buffer that
	// the system allows.
	unread bool

	responses tally
}

const reconnectPause = time.Second

// run attacks until ctx is done, and logs the server's responses.
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
	t.Logf("responses to the attacker: %v", f.responses.counts)
}

// connect sends bytes on a new connection and holds it until either side closes it.
func (f *flood) connect(ctx context.Context, site, address, bytes string) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: requestTimeout}
	if f.unread {
		dialer.Control = smallBuffer
	}
	connection, err := dialer.DialContext(ctx, "tcp", site)
	if err != nil {
		f.responses.add("connect failed")
		return
	}
	defer connection.Close()
	defer context.AfterFunc(ctx, func() { _ = connection.Close() })()
	if _, err := io.WriteString(connection, bytes); err != nil {
		f.responses.add("write failed")
		return
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil) //nolint:bodyclose // closed with the connection
	if err != nil {
		f.responses.add("no response")
		return
	}
	f.responses.add(response.Status)
	if f.unread && response.StatusCode == http.StatusOK {
		<-ctx.Done()
		return
	}
	_, _ = io.Copy(io.Discard, response.Body) // until the server closes the connection or ctx is done
}

// smallBuffer minimizes the receive buffer of a socket.
func smallBuffer(_, _ string, socket syscall.RawConn) error {
	var failed error
	err := socket.Control(func(fd uintptr) { failed = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1) })
	return errors.Join(err, failed)
}

// pause waits for reconnectPause or until ctx is done.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(reconnectPause):
	}
}

// tally counts responses by status.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (t *tally) add(status string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[string]int{}
	}
	t.counts[status]++
}

func (t *tally) of(status string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts[status]
}
