package main

import (
	"log/slog"
	"net"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
)

// One HTTP/2 connection must not be able to fill the slots of all clients.
func TestHTTP2ServerAnnouncesMaxConcurrentStreams(t *testing.T) {
	listener, err := listen("listen-address", "LISTEN_ADDRESS", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := newHTTPServer(http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	connection, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := connection.Write([]byte(http2.ClientPreface)); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(connection, connection)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatal(err)
		}
		if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
			if n, ok := settings.Value(http2.SettingMaxConcurrentStreams); !ok || n != maxStreams {
				t.Errorf("got SETTINGS_MAX_CONCURRENT_STREAMS %d (present: %v), want %d", n, ok, maxStreams)
			}
			return
		}
	}
}
