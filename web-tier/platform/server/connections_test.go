package server_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// clientFrom returns a client that opens a connection from the given loopback address for
// each request.
func clientFrom(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
}

func TestConnectionsAreLimitedPerAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const perAddress = 3
	site := httptest.NewUnstartedServer(echoAddress)
	_ = site.Listener.Close()
	site.Listener = proxies(t, "127.0.0.9", "X-Forwarded-For").LimitConnections(listener.(*net.TCPListener), 100, perAddress)
	site.Start()
	t.Cleanup(site.Close)

	open := func(address string) net.Conn {
		t.Helper()
		dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
		connection, err := dialer.DialContext(t.Context(), "tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = connection.Close() })
		return connection
	}
	var idle net.Conn
	for range perAddress {
		idle = open("127.0.0.66")
		_ = open("127.0.0.9") // a trusted proxy
	}
	got, err := io.ReadAll(open("127.0.0.66"))
	if err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 503 ") || !strings.Contains(string(got), "Retry-After: ") {
		t.Errorf("got %q, %v above the limit of the address, want a 503 with Retry-After", got, err)
	}
	for _, address := range []string{"127.0.0.77", "127.0.0.9"} {
		response, err := clientFrom(address).Get(site.URL)
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s: got %s, want 200", address, response.Status)
		}
	}
	// Closing a connection releases its slot.
	_ = idle.Close()
	ctx, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	for {
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, site.URL, nil)
		response, err := clientFrom("127.0.0.66").Do(request)
		if ctx.Err() != nil {
			t.Fatal("no connection accepted after another was closed")
		}
		if err != nil {
			continue // rejected, and reset before the response was read
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return
		}
	}
}
