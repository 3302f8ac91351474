package server

import (
	"net"
	"time"

	"techtalks.example/proto/transport/fairshare"
)

// tooManyConnections is the response to a connection above the limit. It is plain text,
// since no request has been read that a page could answer.
const tooManyConnections = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" +
	"Too many connections are open, or too many from your address. Close some, or try again in a moment.\n"

// LimitConnections limits the open connections that l accepts, in total and for each client
// address. A connection above the limit is answered with an error and closed. Those of
// trusted proxies count towards the total only: many clients share them.
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
		// The response fits the empty send buffer of a new connection: Write does not block.
		_ = connection.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = connection.Write([]byte(tooManyConnections))
		_ = connection.Close()
	}
}

// key returns the client key that a connection counts against; "" for a trusted proxy.
func (l *limitedListener) key(c *net.TCPConn) string {
	address := canonical(c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
	if l.proxies.trusts(address) {
		return ""
	}
	return addressKey(address)
}

// countedConn is a connection that releases its slot when it is closed. It embeds the
// *net.TCPConn itself, so that net.Buffers still writes all buffers in one system call.
type countedConn struct {
	*net.TCPConn
	release func()
}

func (c *countedConn) Close() error {
	c.release()
	return c.TCPConn.Close()
}
