package postgres

import (
	"context"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ackTimeout is how long sent data can stay unacknowledged before the connection is closed
// (tcp(7), TCP_USER_TIMEOUT). An unreachable host sends no reset, and lib/pq keeps reading
// beyond a call's deadline, so a pooled connection would otherwise hang for a quarter of an
// hour. Long queries are not affected: the kernel acknowledges them on arrival.
const ackTimeout = 5 * time.Second

// dialer opens lib/pq's connections.
type dialer struct{ *net.Dialer }

func newDialer() dialer {
	return dialer{&net.Dialer{
		// Keepalive detects dead idle connections before a call uses them.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: ackTimeout, Interval: ackTimeout / 2, Count: 2},
		Control: func(_, _ string, connection syscall.RawConn) (optionErr error) {
			if err := connection.Control(func(descriptor uintptr) {
				optionErr = unix.SetsockoptInt(int(descriptor), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(ackTimeout.Milliseconds()))
			}); err != nil {
				return err
			}
			return optionErr
		},
	}}
}

// DialTimeout is called by lib/pq where it has no context.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}
