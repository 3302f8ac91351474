package postgres

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// silence is how long the data tier's host may leave what was sent unacknowledged
// before the connection is given up (tcp(7), TCP_USER_TIMEOUT). A host that is cut
// off sends no reset, and lib/pq reads on beyond a call's deadline: without it, a
// connection of the pool would hang for a quarter of an hour. A query may take
// longer; it is acknowledged when it arrives.
const silence = 5 * time.Second

// dialer makes the connections that lib/pq speaks over.
type dialer struct{ *net.Dialer }

func newDialer() dialer {
	return dialer{&net.Dialer{
		// An idle connection is tried, so that a dead one is found before a call needs it.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence, Interval: silence / 2, Count: 2},
		Control: func(_, _ string, connection syscall.RawConn) (failed error) {
			if err := connection.Control(func(descriptor uintptr) {
				failed = unix.SetsockoptInt(int(descriptor), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silence.Milliseconds()))
			}); err != nil {
				return err
			}
			return failed
		},
	}}
}

// DialTimeout is what lib/pq calls where it has no context.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, done := context.WithTimeout(context.Background(), timeout)
	defer done()
	return d.DialContext(ctx, network, address)
}
