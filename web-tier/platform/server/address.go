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

// ipv6PrefixLength is the prefix length that identifies an IPv6 client: a subscriber gets at
// least a /64, and with it 2^64 addresses (RFC 6177).
const ipv6PrefixLength = 64

// ClientAddress returns the key that identifies a client for per-address limits: the IPv4
// address, or the /64 prefix of the IPv6 address, that a request came from. Behind the
// trusted proxies of Proxies.Handler it is the address that they report. It returns ""
// for a request without an IP address, such as one over a Unix socket.
func ClientAddress(r *http.Request) string {
	if key, ok := r.Context().Value(clientKey{}).(string); ok {
		return key
	}
	return addressKey(peerAddress(r))
}

type clientKey struct{}

func addressKey(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	if a.Is6() {
		return netip.PrefixFrom(a, ipv6PrefixLength).Masked().String()
	}
	return a.String()
}

// peerAddress returns the address at the other end of the request's connection.
func peerAddress(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return canonical(peer.Addr())
}

// canonical returns the form in which addresses are compared: IPv4-mapped IPv6 addresses as
// IPv4, and without a zone.
func canonical(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

// The ways in which a proxy reports the client's address. The choice is explicit, because
// most proxies set one of the headers and forward the other as the client sent it.
const (
	XForwardedFor = "X-Forwarded-For"
	Forwarded     = "Forwarded" // RFC 7239
	PROXY         = "PROXY"     // the PROXY protocol, for proxies of TCP connections
)

// Proxies is the set of reverse proxies that are trusted to report a client's address. The
// zero value trusts none.
type Proxies struct {
	networks []netip.Prefix
	header   string
}

// ParseProxies parses a comma-separated list of trusted networks and addresses. header is
// how the proxies there report the client's address.
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
		if address, addrErr := netip.ParseAddr(text); addrErr == nil {
			network, err = address.Prefix(address.BitLen())
		}
		switch {
		case err != nil:
			return Proxies{}, fmt.Errorf("--trusted-proxies (TRUSTED_PROXIES) %q: use networks and addresses separated by commas, as in 10.1.0.0/16,192.0.2.7", text)
		case network.Bits() == 0:
			return Proxies{}, fmt.Errorf("--trusted-proxies (TRUSTED_PROXIES) %q: every client could forge its address: list only the networks of your proxies", text)
		case network.Addr().Is4In6():
			return Proxies{}, fmt.Errorf("--trusted-proxies (TRUSTED_PROXIES) %q: use the IPv4 form of the network", text)
		}
		p.networks = append(p.networks, network)
	}
	if p.header == PROXY && len(p.networks) == 0 {
		return Proxies{}, fmt.Errorf("--proxy-header (PROXY_HEADER) %s: set --trusted-proxies (TRUSTED_PROXIES) to the proxies that send it", PROXY)
	}
	return p, nil
}

func (p Proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p.networks, func(network netip.Prefix) bool { return network.Contains(a) })
}

// Handler makes ClientAddress return what trusted proxies report. It warns once when the
// header comes from a private network that is not trusted: behind an unlisted proxy all
// clients count as one.
func (p Proxies) Handler(log *slog.Logger, next http.Handler) http.Handler {
	if p.header == PROXY {
		return next
	}
	var warned sync.Once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lines := r.Header[p.header]; len(lines) > 0 {
			if peer := peerAddress(r); p.trusts(peer) {
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

// Listener reads the PROXY protocol if the proxies use it. Each connection from a trusted
// proxy must start with its header, within timeout; no other connection may.
func (p Proxies) Listener(l net.Listener, timeout time.Duration) net.Listener {
	if p.header != PROXY {
		return l
	}
	return &proxyproto.Listener{Listener: l, ReadHeaderTimeout: timeout, ConnPolicy: func(c proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		if peer, ok := c.Upstream.(*net.TCPAddr); ok && p.trusts(canonical(peer.AddrPort().Addr())) {
			return proxyproto.REQUIRE, nil
		}
		return proxyproto.SKIP, nil
	}}
}

// client follows the hops from the peer, a trusted proxy, back to the first address that
// is not a trusted proxy. Anything further to the left was sent by that client itself. At a
// hop that is not an address (malformed, unknown or obfuscated) it stops and returns the
// proxy that reported it.
func (p Proxies) client(peer netip.Addr, lines []string) netip.Addr {
	for _, line := range slices.Backward(lines) {
		hops := strings.Split(line, ",")
		if p.header == Forwarded {
			hops = forwardedFor(line)
		}
		for _, hop := range slices.Backward(hops) {
			if hop = strings.TrimSpace(hop); hop == "" {
				continue // RFC 9110, section 5.6.1.2: lists can have empty elements
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

// parseHop parses an address with optional brackets and an optional port.
func parseHop(hop string) (netip.Addr, bool) {
	if withPort, err := netip.ParseAddrPort(hop); err == nil {
		return canonical(withPort.Addr()), true
	}
	if inner, ok := strings.CutPrefix(hop, "["); ok {
		if hop, ok = strings.CutSuffix(inner, "]"); !ok {
			return netip.Addr{}, false
		}
	}
	address, err := netip.ParseAddr(hop)
	return canonical(address), err == nil
}

// unknownHop is RFC 7239's identifier for a node that is not known.
const unknownHop = "unknown"

// forwardedFor returns the "for" parameter of each element of a Forwarded header, and
// unknownHop for an element that has none or is malformed. An unclosed quote swallows the
// elements after it, since they are ambiguous.
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
