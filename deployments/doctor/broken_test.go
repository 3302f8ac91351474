package main

import (
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"techtalks.example/deployments/certificates"
)

// lasting is a program's folder with a certificate of the site's authority that ends
// after life.
func lasting(t *testing.T, life time.Duration, program string) string {
	t.Helper()
	made := t.TempDir()
	for _, name := range []string{"ca.crt", "ca.key"} {
		replaced(t, filepath.Join(the.certificates(), name), filepath.Join(made, name))
	}
	if _, err := certificates.IssueFor(life, made, nil); err != nil {
		t.Fatal(err)
	}
	return handOut(t, made, program)
}

// foreign is a folder with everything of another authority.
func foreign(t *testing.T) string {
	t.Helper()
	made := t.TempDir()
	if _, err := certificates.Issue(made, nil); err != nil {
		t.Fatal(err)
	}
	return made
}

// with is a program's folder in which files are replaced: one, by name, by another.
func with(t *testing.T, program string, files ...string) string {
	t.Helper()
	folder := own(t, program)
	for i := 0; i < len(files); i += 2 {
		replaced(t, files[i], filepath.Join(folder, files[i+1]))
	}
	return folder
}

func replaced(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// silent takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // the kernel takes them, and nobody fetches them
	return listener.Addr().String()
}

// indiscriminate shows the logic tier's certificate, asks for none and greets everybody.
func indiscriminate(t *testing.T) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(the.certificates(), "logic-tier.crt"), filepath.Join(the.certificates(), "logic-tier.key"))
	if err != nil {
		t.Fatal(err)
	}
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // whoever it is may have left
				_, _ = conn.Read(make([]byte, 1024))
			}()
		}
	}()
	return listener.Addr().String()
}

// A backup that "data-tier backup" made is found, and its age is known.
func TestBackupsAreFound(t *testing.T) {
	backups := the.directory("backups")
	command := exec.CommandContext(t.Context(), the.program("data-tier"), "backup", "--data-directory", the.directory("data"), "--to", backups)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	told := onData(t).but("BACKUPS", backups)
	if output, code := ask(t, told); code != 0 {
		t.Errorf("exits with %d:\n%s", code, output)
	}
	expect(t, told.but("BACKUP_AGE", "1ns"), "newest backup", "1ns are allowed", "data-tier backup")
}
