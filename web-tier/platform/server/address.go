package server

import (
	"context"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// ipv6Client is the prefix length by which IPv6 clients are told apart: a
// subscriber gets a /64 at least, and with it 2^64 addresses (RFC 6177).
const ipv6Client = 64

// ClientAddress returns the key of everything that is counted per client address: the
// IPv4 address, or the /64 of the IPv6 address, that a request came from. Behind the
// trusted proxies of Proxies.Handler it is the address that they report. It returns ""
// for a request without an IP address, such as one over a Unix socket.
func ClientAddress(r *http.Request) string {
	if key, ok := r.Context().Value(clientKey{}).(string); ok {
		return key
	}
	return addressKey(peerOf(r))
}

type clientKey struct{}

func addressKey(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	if a.Is6() {
		return netip.PrefixFrom(a, ipv6Client).Masked().String()
	}
	return a.String()
}

// peerOf returns the address at the other end of the request's connection.
func peerOf(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return plain(peer.Addr())
}

// plain returns the one form in which an address is compared: IPv4-mapped IPv6
// addresses as IPv4, and no zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// How a proxy passes the client's address on. There is no automatic choice: most
// proxies set one of the headers and forward the other as the client sent it.
const (
	XForwardedFor = "X-Forwarded-For"
	Forwarded     = "Forwarded" // RFC 7239
	PROXY         = "PROXY"     // the PROXY protocol, for proxies of TCP connections
)

// Proxies are the reverse proxies whose word about a client's address is believed. The
// zero value trusts nobody.
type Proxies struct {
	networks []netip.Prefix
	header   string
}

// ParseProxies reads networks and addresses separated by commas, and the way in which
// the proxies there pass the client's address on.
func ParseProxies(networks, header string) (Proxies, error) {
	p := Proxies{header: header}
	if header != XForwardedFor && header != Forwarded && header != PROXY {
		return Proxies{}, fmt.Errorf("--proxy-header (PROXY_HEADER) %q: use %s, %s or %s", header, XForwardedFor, Forwarded, PROXY)
	}
	for text := range strings.SplitSeq(networks, ",") {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		network, err := netip.ParsePrefix(text)
		if address, wrong := netip.ParseAddr(text); wrong == nil {
			network, err = address.Prefix(address.BitLen())
		}
		switch {
		case err != nil:
			return Proxies{}, fmt.Errorf("--trusted-proxies (TRUSTED_PROXIES) %q: use networks and addresses separated by commas, as in 10.1.0.0/16,192.0.2.7", text)
		case network.Bits() == 0:
			return Proxies{}, fmt.Errorf("--trusted-proxies (TRUSTED_PROXIES) %q: every client could choose its address: name the networks of the proxies alone", text)
		case network.Addr().Is4In6():
			return Proxies{}, fmt.Errorf("--trusted-proxies (TRUSTED_PROXIES) %q: write the IPv4 network as such", text)
		}
		p.networks = append(p.networks, network)
	}
	if p.header == PROXY && len(p.networks) == 0 {
		return Proxies{}, fmt.Errorf("--proxy-header (PROXY_HEADER) %s: say with --trusted-proxies (TRUSTED_PROXIES) which proxies send it", PROXY)
	}
	return p, nil
}

func (p Proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.networks, func(network netip.Prefix) bool { return network.Contains(a) })
}

// Handler lets ClientAddress return what trusted proxies report. It warns once when a
// header comes from a private network that is not trusted: behind a proxy that is not in
// the list, all clients count as one.
func (p Proxies) Handler(log *slog.Logger, next http.Handler) http.Handler {
	if p.header == PROXY {
		return next
	}
	var warned sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lines := r.Header[p.header]; len(lines) > 0 {
			if peer := peerOf(r); p.trusts(peer) {
				r = r.WithContext(context.WithValue(r.Context(), clientKey{}, addressKey(p.client(peer, lines))))
			} else if peer.IsPrivate() {
				warned.Do(func() {
					log.Warn("ignoring the client address from an untrusted peer; if it is your proxy, add its network to --trusted-proxies (TRUSTED_PROXIES)",
						"header", p.header, "peer", peer.String())
				})
			}
		}
		next.ServeHTTP(w, r)
	})
}

// Listener reads the PROXY protocol, where that is how the proxies report clients: each
// connection from a trusted proxy must begin with it, within timeout; no other may.
func (p Proxies) Listener(l net.Listener, timeout time.Duration) net.Listener {
	if p.header != PROXY {
		return l
	}
	return &proxyproto.Listener{Listener: l, ReadHeaderTimeout: timeout, ConnPolicy: func(c proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		if peer, ok := c.Upstream.(*net.TCPAddr); ok && p.trusts(plain(peer.AddrPort().Addr())) {
			return proxyproto.REQUIRE, nil
		}
		return proxyproto.SKIP, nil
	}}
}

// client follows the hops from the peer, a trusted proxy, back to the first address that
// is no trusted proxy. Further to the left is only what that client sent itself. At a hop
// that is no address (malformed, unknown or obfuscated) it stops, with the proxy that
// reported it.
func (p Proxies) client(peer netip.Addr, lines []string) netip.Addr {
	for _, line := range slices.Backward(lines) {
		hops := strings.Split(line, ",")
		if p.header == Forwarded {
			hops = forwardedFor(line)
		}
		for _, hop := range slices.Backward(hops) {
			if hop = strings.TrimSpace(hop); hop == "" {
				continue // RFC 9110, 5.6.1.2: a list may have empty elements
			}
			address, ok := parseHop(hop)
			if !ok {
				return peer
			}
			if peer = address; !p.trusts(peer) {
				return peer
			}
		}
	}
	return peer
}

// parseHop reads an address that may be in brackets and may have a port.
func parseHop(hop string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(hop); err == nil {
		return plain(withPort.Addr()), true
	}
	if inner, ok := strings.CutPrefix(hop, "["); ok {
		if hop, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.Addr{}, false
		}
	}
	address, err := netip.ParseAddr(hop)
	return plain(address), err == nil
}

// unknownHop is what RFC 7239 calls a node of which nothing is known.
const unknownHop = "unknown"

// forwardedFor returns the "for" of each element of a Forwarded header, unknownHop for an
// element that has none or is malformed. A quote that is not closed swallows the elements
// after it: they could be read in two ways.
func forwardedFor(line string) []string {
	var hops []string
	for line != "" {
		end, quoted := len(line), false
		for i := 0; i < len(line); i++ {
			switch c := line[i]; {
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case c == ',' && !quoted:
				end = i
			}
			if end < len(line) {
				break
			}
		}
		element := line[:end]
		line = line[min(end+1, len(line)):]
		if strings.TrimSpace(element) == "" {
			continue
		}
		hop := unknownHop
		if _, parameters, err := mime.ParseMediaType("x;" + element); err == nil && parameters["for"] != "" {
			hop = parameters["for"]
		}
		hops = append(hops, hop)
	}
	return hops
}
