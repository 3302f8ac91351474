package lab

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestHostsOnNetworks(t *testing.T) {
	for _, kind := range []Kind{Namespaces, Containers} {
		t.Run(string(kind), func(t *testing.T) {
			if err := Missing(kind); err != nil {
				t.Skip(err)
			}
			hostsOnNetworks(t, kind)
		})
	}
}

func hostsOnNetworks(t *testing.T, kind Kind) {
	shared := t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "file"), []byte("for all\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := New(kind, t.TempDir(), []string{shared}, "front", "back")
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
		output, err := h.Command(t.Context(), []string{"SETTING=as set"}, "sh", "-c", command).CombinedOutput()
		return strings.TrimSpace(string(output)), err
	}
	if name, err := says(web, "hostname"); err != nil || name != "web" {
		t.Errorf("its name is %q, %v", name, err)
	}
	if at, err := says(data, "getent hosts web tier"); err != nil || strings.Count(at, web.Address("back")) != 2 || strings.Contains(at, web.Address("front")) {
		t.Errorf("from data, web is at %q, %v", at, err)
	}
	if setting, err := says(web, "echo $SETTING"); err != nil || setting != "as set" {
		t.Errorf("a command's setting is %q, %v", setting, err)
	}
	if read, err := says(web, "cat "+shared+"/file"); err != nil || read != "for all" {
		t.Errorf("what is shared reads as %q, %v", read, err)
	}
	if wrote, err := says(web, "echo own > "+web.Folder()+"/file && cat "+web.Folder()+"/file"); err != nil || wrote != "own" {
		t.Errorf("its own folder: %q, %v", wrote, err)
	}
	if kind == Containers {
		if read, err := says(data, "cat "+web.Folder()+"/file"); err == nil {
			t.Errorf("another host reads %q from its folder", read)
		}
		if _, err := says(web, "echo > "+shared+"/file"); err == nil {
			t.Error("what is shared can be written to")
		}
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
			return fmt.Errorf("%q comes back, %w", got, err)
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
	polite, err := web.Start("polite", "sh", nil, "-c", `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 1 & wait; done`)
	if err != nil {
		t.Fatal(err)
	}
	up := func(times int) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); strings.Count(polite.Log(), "up\n") < times; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it does not start:\n%s", polite.Log())
			}
		}
	}
	up(1)
	if err := polite.Stop(); err != nil || polite.Running() || polite.End(1) != "bye" {
		t.Errorf("asked to stop: %v, and it said %q", err, polite.Log())
	}
	if err := polite.Start(); err != nil {
		t.Fatal(err)
	}
	up(2)
	polite.Kill()
	if polite.Running() || strings.Count(polite.Log(), "bye") != 1 {
		t.Errorf("killed, it said %q", polite.Log())
	}
	if err := polite.Start(); err != nil {
		t.Fatal(err)
	}
	up(3)
}
