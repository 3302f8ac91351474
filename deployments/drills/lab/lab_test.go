package lab

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func TestHostsOnNetworks(t *testing.T) {
	if err := Missing(); err != nil {
		t.Skip(err)
	}
	l, err := New(t.TempDir(), "front", "back")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	must := func(h *Host, err error) *Host {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	must(l.Here("here", "front"))
	web := must(l.Host("web", "front", "back"))
	data := must(l.Host("data", "back"))
	if err := l.Name("tier", "web"); err != nil {
		t.Fatal(err)
	}
	says := func(h *Host, command string) (string, error) {
		output, err := h.Command(t.Context(), "sh", "-c", command).CombinedOutput()
		return strings.TrimSpace(string(output)), err
	}
	if name, err := says(web, "hostname"); err != nil || name != "web" {
		t.Errorf("its name is %q, %v", name, err)
	}
	if at, err := says(data, "getent hosts web tier"); err != nil || strings.Count(at, web.Address("back")) != 2 || strings.Contains(at, web.Address("front")) {
		t.Errorf("from data, web is at %q, %v", at, err)
	}

	// A server on web that echoes, as seen from here.
	echo, err := web.Start("echo", "python3", nil, "-u", "-c", `
import socket
s = socket.create_server(("0.0.0.0", 7))
while True:
    c, _ = s.accept()
    while b := c.recv(65536): c.sendall(b)
`)
	if err != nil {
		t.Fatal(err)
	}
	var c net.Conn
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err = net.DialTimeout("tcp", web.Address("front")+":7", time.Second); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v\n%s", err, echo.Log())
		}
	}
	defer c.Close()
	round := func(patience time.Duration) error {
		_ = c.SetDeadline(time.Now().Add(patience))
		sent := fmt.Sprint(time.Now().UnixNano())
		if _, err := io.WriteString(c, sent); err != nil {
			return err
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != sent {
			return fmt.Errorf("%q comes back, %v", got, err)
		}
		return nil
	}
	if err := round(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	l.Between("here", "web", Cable{Delay: 50 * time.Millisecond})
	began := time.Now()
	if err := round(10 * time.Second); err != nil || time.Since(began) < 100*time.Millisecond {
		t.Errorf("over a slow cable: %v after %s", err, time.Since(began))
	}
	l.Set("web", "here", Cable{Cut: true}) // in one direction
	if err := round(300 * time.Millisecond); err == nil {
		t.Error("what is sent back arrives over a cable that is cut")
	}
	l.Mend()
	got := make([]byte, 100)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(got); err != nil || n == 0 {
		t.Errorf("mended, what was underway does not arrive: %v", err)
	}
	dial := func(network string) error {
		_, err := says(data, "timeout 5 bash -c '</dev/tcp/"+web.Address(network)+"/7'")
		return err
	}
	if err := dial("back"); err != nil {
		t.Errorf("on their network, web is not reached: %v", err)
	}
	if err := dial("front"); err == nil {
		t.Error("on a network that data is not in, web is reached")
	}
	if err := web.Crash(); err != nil || echo.Running() {
		t.Errorf("crashed, it runs on: %v", err)
	}
}
