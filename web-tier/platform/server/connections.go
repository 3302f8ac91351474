package server

import (
	"net"
	"time"

	"techtalks.example/proto/transport/fairshare"
)

// refusal is the whole answer to a connection beyond the bound. A request that is not
// read yet has no page to be shown on.
const refusal = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
	"Too many connections are open from your address. Close some, or try again in a moment.\n"

// LimitConnections bounds the connections that l accepts, in total and for each client
// address. One beyond the bound is told so and closed. Those of trusted proxies count in
// total alone: behind them are many clients.
func (p Proxies) LimitConnections(l *net.TCPListener, total, perAddress int) net.Listener {
	return &limitedListener{TCPListener: l, proxies: p, perAddress: perAddress, open: fairshare.New(total)}
}

type limitedListener struct {
	*net.TCPListener
	proxies    Proxies
	perAddress int
	open       *fairshare.Limiter
}

func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		connection, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		release, err := l.open.Acquire(fairshare.Share{Key: l.key(connection), Limit: l.perAddress})
		if err == nil {
			return &countedConn{TCPConn: connection, release: release}, nil
		}
		// It fits the empty send buffer of a new connection; nothing is waited for.
		_ = connection.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = connection.Write([]byte(refusal))
		_ = connection.Close()
	}
}

// key returns what a connection counts against; "" for a trusted proxy's.
func (l *limitedListener) key(c *net.TCPConn) string {
	address := plain(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
	if l.proxies.trusts(address) {
		return ""
	}
	return addressKey(address)
}

// countedConn is a connection that gives its slot back when it is closed. It embeds the
// TCP connection itself, so that net.Buffers still writes all buffers in one system call.
type countedConn struct {
	*net.TCPConn
	release func()
}

func (c *countedConn) Close() error {
	c.release()
	return c.TCPConn.Close()
}
