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

// from returns a client whose connections come from another loopback address.
func from(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
}

func TestConnectionsAreBoundedForEachAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const perAddress = 3
	served := httptest.NewUnstartedServer(tellAddress)
	_ = served.Listener.Close()
	served.Listener = proxies(t, "127.0.0.9", "X-Forwarded-For").LimitConnections(listener.(*net.TCPListener), 100, perAddress)
	served.Start()
	t.Cleanup(served.Close)

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
		_ = open("127.0.0.9") // a proxy, behind which are many
	}
	refused, err := io.ReadAll(open("127.0.0.66"))
	if err != nil || !strings.HasPrefix(string(refused), "HTTP/1.1 503 ") || !strings.Contains(string(refused), "Retry-After: ") {
		t.Errorf("a connection beyond the share of the address is answered %q, %v", refused, err)
	}
	for _, address := range []string{"127.0.0.77", "127.0.0.9"} {
		response, err := from(address).Get(served.URL)
		if err != nil {
			t.Fatalf("%s: %v", address, err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s is answered %s", address, response.Status)
		}
	}
	// A connection that is closed makes room for another.
	_ = idle.Close()
	ctx, done := context.WithTimeout(t.Context(), time.Minute)
	defer done()
	for {
		request, _ := http.NewRequestWithContext(ctx, http.MethodGet, served.URL, nil)
		response, err := from("127.0.0.66").Do(request)
		if ctx.Err() != nil {
			t.Fatal("no room after a connection was closed")
		}
		if err != nil {
			continue // refused, and reset before the answer was read
		}
		_ = response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return
		}
	}
}
