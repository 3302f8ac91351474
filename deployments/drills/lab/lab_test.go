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

func TestLabConnectsHostsAndInjectsFailures(t *testing.T) {
	for _, kind := range []Kind{Namespaces, Containers} {
		t.Run(string(kind), func(t *testing.T) {
			if err := Check(kind); err != nil {
				t.Skip(err)
			}
			testLab(t, kind)
		})
	}
}

func testLab(t *testing.T, kind Kind) {
	shared := t.TempDir()
	if err := os.WriteFile(filepath.Join(shared, "file"), []byte("shared\n"), 0o644); err != nil {
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
	must(l.AddLocalHost("local", "front"))
	web := must(l.AddHost("web", "front", "back"))
	data := must(l.AddHost("data", "back"))
	if err := l.AddName("tier", "web"); err != nil {
		t.Fatal(err)
	}
	output := func(h *Host, command string) (string, error) {
		text, err := h.Command(t.Context(), []string{"SETTING=value"}, "sh", "-c", command).CombinedOutput()
		return strings.TrimSpace(string(text)), err
	}
	if name, err := output(web, "hostname"); err != nil || name != "web" {
		t.Errorf("hostname: got %q, %v, want web", name, err)
	}
	if addresses, err := output(data, "getent hosts web tier"); err != nil || strings.Count(addresses, web.Address("back")) != 2 || strings.Contains(addresses, web.Address("front")) {
		t.Errorf("names of web on data: got %q, %v, want addresses in the back network only", addresses, err)
	}
	if setting, err := output(web, "echo $SETTING"); err != nil || setting != "value" {
		t.Errorf("setting of a command: got %q, %v", setting, err)
	}
	if read, err := output(web, "cat "+shared+"/file"); err != nil || read != "shared" {
		t.Errorf("shared file: got %q, %v", read, err)
	}
	if wrote, err := output(web, "echo own > "+web.Folder()+"/file && cat "+web.Folder()+"/file"); err != nil || wrote != "own" {
		t.Errorf("file in the host's folder: got %q, %v", wrote, err)
	}
	if kind == Containers {
		if read, err := output(data, "cat "+web.Folder()+"/file"); err == nil {
			t.Errorf("another host reads %q from the folder of web", read)
		}
		if _, err := output(web, "echo > "+shared+"/file"); err == nil {
			t.Error("a host can write to a shared folder")
		}
	}

	// An echo server on web.
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
	roundTrip := func(timeout time.Duration) error {
		_ = c.SetDeadline(time.Now().Add(timeout))
		sent := fmt.Sprint(time.Now().UnixNano())
		if _, err := io.WriteString(c, sent); err != nil {
			return err
		}
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != sent {
			return fmt.Errorf("echo: got %q, %w", got, err)
		}
		return nil
	}
	if err := roundTrip(10 * time.Second); err != nil {
		t.Fatal(err)
	}
	l.SetLinks("local", "web", Link{Delay: 50 * time.Millisecond})
	began := time.Now()
	if err := roundTrip(10 * time.Second); err != nil || time.Since(began) < 100*time.Millisecond {
		t.Errorf("round trip over a slow link: got %v after %s, want at least 100 ms", err, time.Since(began))
	}
	l.SetLink("web", "local", Link{Cut: true}) // in one direction
	if err := roundTrip(300 * time.Millisecond); err == nil {
		t.Error("a frame arrives over a cut link")
	}
	l.RestoreLinks()
	got := make([]byte, 100)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(got); err != nil || n == 0 {
		t.Errorf("data in flight does not arrive after the link is restored: %v", err)
	}
	dial := func(network string) error {
		_, err := output(data, "timeout 5 bash -c '</dev/tcp/"+web.Address(network)+"/7'")
		return err
	}
	if err := dial("back"); err != nil {
		t.Errorf("data cannot connect to web in their network: %v", err)
	}
	if err := dial("front"); err == nil {
		t.Error("data can connect to web in a network that data is not in")
	}
	if err := web.Crash(); err != nil || echo.Running() {
		t.Errorf("a process is running after a crash of its host: %v", err)
	}
	graceful, err := web.Start("graceful", "sh", nil, "-c", `trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 1 & wait; done`)
	if err != nil {
		t.Fatal(err)
	}
	awaitStarts := func(times int) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); strings.Count(graceful.Log(), "up\n") < times; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the process does not start:\n%s", graceful.Log())
			}
		}
	}
	awaitStarts(1)
	if err := graceful.Stop(); err != nil || graceful.Running() || graceful.LogTail(1) != "bye" {
		t.Errorf("after Stop: got error %v and log %q", err, graceful.Log())
	}
	if err := graceful.Start(); err != nil {
		t.Fatal(err)
	}
	awaitStarts(2)
	graceful.Kill()
	if graceful.Running() || strings.Count(graceful.Log(), "bye") != 1 {
		t.Errorf("after Kill: got log %q", graceful.Log())
	}
	if err := graceful.Start(); err != nil {
		t.Fatal(err)
	}
	awaitStarts(3)
}
