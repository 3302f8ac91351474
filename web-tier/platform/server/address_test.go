package server_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"techtalks.example/web-tier/platform/server"
)

func proxies(t testing.TB, networks, header string) server.Proxies {
	t.Helper()
	p, err := server.ParseProxies(networks, header)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// echoAddress answers with the client's address key.
var echoAddress = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, server.ClientAddress(r))
})

func TestClientAddress(t *testing.T) {
	const trusted = "10.0.0.0/8, 192.0.2.7,2001:db8:f::/48"
	xff := func(lines ...string) http.Header { return http.Header{"X-Forwarded-For": lines} }
	forwarded := func(lines ...string) http.Header { return http.Header{"Forwarded": lines} }
	for name, c := range map[string]struct {
		networks, header string
		peer             string
		sent             http.Header
		want             string
	}{
		"IPv4 without a proxy":                         {"", "X-Forwarded-For", "203.0.113.5:4000", nil, "203.0.113.5"},
		"IPv6 is grouped by /64":                       {"", "X-Forwarded-For", "[2001:db8:1:2:3:4:5:6]:4000", nil, "2001:db8:1:2::/64"},
		"IPv4 on an IPv6 socket":                       {"", "X-Forwarded-For", "[::ffff:203.0.113.5]:4000", nil, "203.0.113.5"},
		"zone is ignored":                              {"", "X-Forwarded-For", "[fe80::1%eth0]:4000", nil, "fe80::/64"},
		"no IP address":                                {trusted, "X-Forwarded-For", "@", xff("198.51.100.1"), ""},
		"no trusted proxies":                           {"", "X-Forwarded-For", "10.0.0.1:4000", xff("203.0.113.5"), "10.0.0.1"},
		"untrusted peer":                               {trusted, "X-Forwarded-For", "198.51.100.1:4000", xff("203.0.113.5"), "198.51.100.1"},
		"trusted proxy":                                {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("203.0.113.5"), "203.0.113.5"},
		"trusted proxy on an IPv6 socket":              {trusted, "X-Forwarded-For", "[::ffff:10.0.0.1]:4000", xff("203.0.113.5"), "203.0.113.5"},
		"trusted proxy with an IPv6 address":           {trusted, "X-Forwarded-For", "[2001:db8:f::9]:4000", xff("203.0.113.5"), "203.0.113.5"},
		"forged by the client":                         {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("192.0.2.66, 10.0.0.9, 203.0.113.5"), "203.0.113.5"},
		"chain of proxies":                             {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("203.0.113.5, 192.0.2.7, 10.0.0.2"), "203.0.113.5"},
		"several header lines":                         {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("192.0.2.66", "203.0.113.5", "10.0.0.2"), "203.0.113.5"},
		"with a port":                                  {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("203.0.113.5:51000"), "203.0.113.5"},
		"IPv6 without brackets":                        {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("2001:db8:1:2::5"), "2001:db8:1:2::/64"},
		"IPv6 in brackets":                             {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("[2001:db8:1:2::5]"), "2001:db8:1:2::/64"},
		"IPv6 in brackets with a port":                 {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("[2001:db8:1:2::5]:51000"), "2001:db8:1:2::/64"},
		"IPv4-mapped":                                  {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("::ffff:203.0.113.5"), "203.0.113.5"},
		"empty elements":                               {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("203.0.113.5,, ,"), "203.0.113.5"},
		"no header":                                    {trusted, "X-Forwarded-For", "10.0.0.1:4000", nil, "10.0.0.1"},
		"proxies only":                                 {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("10.0.0.3, 10.0.0.2"), "10.0.0.3"},
		"unknown":                                      {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("192.0.2.66, unknown"), "10.0.0.1"},
		"malformed":                                    {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("192.0.2.66, 203.0.113.500"), "10.0.0.1"},
		"unclosed bracket":                             {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("[2001:db8::1"), "10.0.0.1"},
		"malformed before a second proxy":              {trusted, "X-Forwarded-For", "10.0.0.1:4000", xff("!, 192.0.2.7"), "192.0.2.7"},
		"Forwarded when X-Forwarded-For is configured": {trusted, "X-Forwarded-For", "10.0.0.1:4000", forwarded("for=192.0.2.66"), "10.0.0.1"},
		"X-Forwarded-For when Forwarded is configured": {trusted, "Forwarded", "10.0.0.1:4000", xff("192.0.2.66"), "10.0.0.1"},
		"Forwarded":                                    {trusted, "Forwarded", "10.0.0.1:4000", forwarded("for=203.0.113.5;proto=https;by=10.0.0.1"), "203.0.113.5"},
		"Forwarded in any case and order":              {trusted, "Forwarded", "10.0.0.1:4000", forwarded(`Proto=https;FOR="203.0.113.5"`), "203.0.113.5"},
		"Forwarded with IPv6 and a port":               {trusted, "Forwarded", "10.0.0.1:4000", forwarded(`for="[2001:db8:1:2::5]:51000"`), "2001:db8:1:2::/64"},
		"Forwarded is read from the right":             {trusted, "Forwarded", "10.0.0.1:4000", forwarded("for=192.0.2.66, for=203.0.113.5, for=10.0.0.2"), "203.0.113.5"},
		"Forwarded with several lines":                 {trusted, "Forwarded", "10.0.0.1:4000", forwarded("for=192.0.2.66", "for=203.0.113.5"), "203.0.113.5"},
		"Forwarded with an obfuscated node":            {trusted, "Forwarded", "10.0.0.1:4000", forwarded("for=192.0.2.66, for=_hidden"), "10.0.0.1"},
		"Forwarded with an unknown node":               {trusted, "Forwarded", "10.0.0.1:4000", forwarded("for=192.0.2.66, for=unknown, for=192.0.2.7"), "192.0.2.7"},
		"Forwarded without a node":                     {trusted, "Forwarded", "10.0.0.1:4000", forwarded("for=192.0.2.66, proto=https"), "10.0.0.1"},
		"Forwarded with two nodes in one element":      {trusted, "Forwarded", "10.0.0.1:4000", forwarded("for=192.0.2.66;for=203.0.113.5"), "10.0.0.1"},
		"comma in a quoted host":                       {trusted, "Forwarded", "10.0.0.1:4000", forwarded(`for=203.0.113.5;host="x, for=192.0.2.66"`), "203.0.113.5"},
		"comma after an escaped quote":                 {trusted, "Forwarded", "10.0.0.1:4000", forwarded(`for=203.0.113.5;host="x\", for=192.0.2.66"`), "203.0.113.5"},
		"unclosed quote from the client":               {trusted, "Forwarded", "10.0.0.1:4000", forwarded(`for=192.0.2.66;host=", for=203.0.113.5`), "10.0.0.1"},
		"unclosed quote on an earlier line":            {trusted, "Forwarded", "10.0.0.1:4000", forwarded(`for="`, "for=203.0.113.5"), "203.0.113.5"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = c.peer
			for name, lines := range c.sent {
				r.Header[name] = lines
			}
			w := httptest.NewRecorder()
			proxies(t, c.networks, c.header).Handler(slog.New(slog.DiscardHandler), echoAddress).ServeHTTP(w, r)
			if got := w.Body.String(); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestParseProxies_RejectsInvalidSettings(t *testing.T) {
	for _, c := range []struct{ networks, header, want string }{
		{"10.0.0.0/8;10.1.0.0/16", "X-Forwarded-For", "separated by commas"},
		{"proxy.example.net", "X-Forwarded-For", "networks and addresses"},
		{"10.0.0.0/33", "X-Forwarded-For", "networks and addresses"},
		{"0.0.0.0/0", "X-Forwarded-For", "every client"},
		{"10.0.0.1,::/0", "X-Forwarded-For", "every client"},
		{"::ffff:10.0.0.0/104", "X-Forwarded-For", "IPv4"},
		{"10.0.0.0/8", "X-Real-IP", "use X-Forwarded-For"},
		{"", "PROXY", "--trusted-proxies"},
	} {
		if _, err := server.ParseProxies(c.networks, c.header); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %q: got %v, want an error with %q", c.networks, c.header, err, c.want)
		}
	}
}

func TestHandler_WarnsOnceAboutAnUntrustedProxy(t *testing.T) {
	var log bytes.Buffer
	handler := proxies(t, "192.0.2.7", server.XForwardedFor).Handler(slog.New(slog.NewTextHandler(&log, nil)), echoAddress)
	for _, peer := range []string{"192.0.2.7:4000", "203.0.113.5:4000", "10.0.0.1:4000", "10.0.0.1:4000"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", "203.0.113.5")
		handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "peer=10.0.0.1") || !strings.Contains(got, "TRUSTED_PROXIES") {
		t.Errorf("got log %q, want one line about 10.0.0.1", got)
	}
}

// dialFrom returns a client that connects from the given address.
func dialFrom(t *testing.T, address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func get(t *testing.T, client *http.Client, url string, headers ...string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Clients behind a reverse proxy count separately, whatever headers they send, and so does a
// client that bypasses the proxy.
func TestClientsBehindAReverseProxyAreCountedSeparately(t *testing.T) {
	site := httptest.NewServer(proxies(t, "127.0.0.9", server.XForwardedFor).Handler(slog.New(slog.DiscardHandler), echoAddress))
	defer site.Close()
	backend, err := url.Parse(site.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Transport: dialFrom(t, "127.0.0.9").Transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(backend)
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"] // appends, as most proxies do
		r.SetXForwarded()
	}})
	defer proxy.Close()
	for _, c := range []struct{ client, url, want string }{
		{"127.0.0.66", proxy.URL, "127.0.0.66"},
		{"127.0.0.77", proxy.URL, "127.0.0.77"},
		{"127.0.0.66", site.URL, "127.0.0.66"},
	} {
		if got := get(t, dialFrom(t, c.client), c.url, "X-Forwarded-For", "192.0.2.1", "Forwarded", "for=192.0.2.1"); got != c.want {
			t.Errorf("%s to %s: got %q, want %q", c.client, c.url, got, c.want)
		}
	}
}

// proxyV2 returns the header of version 2 of the PROXY protocol for a TCP connection.
func proxyV2(source, destination netip.AddrPort) string {
	header := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11")
	if source.Addr().Is6() {
		header[len(header)-1] = 0x21
	}
	addresses := append(source.Addr().AsSlice(), destination.Addr().AsSlice()...)
	addresses = binary.BigEndian.AppendUint16(addresses, source.Port())
	addresses = binary.BigEndian.AppendUint16(addresses, destination.Port())
	return string(append(binary.BigEndian.AppendUint16(header, uint16(len(addresses))), addresses...))
}

func TestPROXYProtocolIsAcceptedFromTrustedProxiesOnly(t *testing.T) {
	site := httptest.NewUnstartedServer(nil)
	p := proxies(t, "127.0.0.9", server.PROXY)
	site.Config.Handler = p.Handler(slog.New(slog.DiscardHandler), echoAddress)
	site.Listener = p.Listener(site.Listener, 5*time.Second)
	site.Start()
	defer site.Close()
	destination := netip.MustParseAddrPort("192.0.2.80:80")
	for name, c := range map[string]struct{ peer, header, want string }{
		"version 1":                {"127.0.0.9", "PROXY TCP4 203.0.113.5 192.0.2.80 51000 80\r\n", "203.0.113.5"},
		"version 1, IPv6":          {"127.0.0.9", "PROXY TCP6 2001:db8:1:2::5 2001:db8::80 51000 80\r\n", "2001:db8:1:2::/64"},
		"version 1, unknown":       {"127.0.0.9", "PROXY UNKNOWN\r\n", "127.0.0.9"},
		"version 2":                {"127.0.0.9", proxyV2(netip.MustParseAddrPort("203.0.113.5:51000"), destination), "203.0.113.5"},
		"version 2, IPv6":          {"127.0.0.9", proxyV2(netip.MustParseAddrPort("[2001:db8:1:2::5]:51000"), netip.MustParseAddrPort("[2001:db8::80]:80")), "2001:db8:1:2::/64"},
		"version 2, LOCAL":         {"127.0.0.9", "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "127.0.0.9"},
		"missing header":           {"127.0.0.9", "", "rejected"},
		"malformed":                {"127.0.0.9", "PROXY TCP4 203.0.113.5\r\n", "rejected"},
		"untrusted, with a header": {"127.0.0.66", "PROXY TCP4 203.0.113.5 192.0.2.80 51000 80\r\n", "rejected"},
		"untrusted, without":       {"127.0.0.66", "", "127.0.0.66"},
	} {
		t.Run(name, func(t *testing.T) {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.peer)}}
			connection, err := dialer.DialContext(t.Context(), "tcp", site.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			if _, err := fmt.Fprintf(connection, "%sGET / HTTP/1.1\r\nHost: site\r\nX-Forwarded-For: 192.0.2.1\r\nConnection: close\r\n\r\n", c.header); err != nil {
				t.Fatal(err)
			}
			got := "rejected"
			if response, err := http.ReadResponse(bufio.NewReader(connection), nil); err == nil && response.StatusCode == http.StatusOK {
				body, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				got = string(body)
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
