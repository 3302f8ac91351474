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

// expiringCertificate returns the certificate folder of a program whose certificate, issued by the
// site's authority, is valid for life.
func expiringCertificate(t *testing.T, life time.Duration, program string) string {
	t.Helper()
	authority := t.TempDir()
	for _, name := range []string{"ca.crt", "ca.key"} {
		copyFile(t, filepath.Join(shared.certificates(), name), filepath.Join(authority, name))
	}
	if _, err := certificates.IssueFor(life, authority, nil); err != nil {
		t.Fatal(err)
	}
	return deliverCertificate(t, authority, program)
}

// foreignAuthority returns the folder of another authority and its certificates.
func foreignAuthority(t *testing.T) string {
	t.Helper()
	authority := t.TempDir()
	if _, err := certificates.Issue(authority, nil); err != nil {
		t.Fatal(err)
	}
	return authority
}

// withFiles returns the certificate folder of a program in which files are replaced, given as pairs
// of source and name.
func withFiles(t *testing.T, program string, files ...string) string {
	t.Helper()
	folder := certificateFolder(t, program)
	for i := 0; i < len(files); i += 2 {
		copyFile(t, files[i], filepath.Join(folder, files[i+1]))
	}
	return folder
}

func copyFile(t *testing.T, source, destination string) {
	t.Helper()
	content, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(destination, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// silentListener returns the address of a listener that sends nothing.
func silentListener(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // the kernel accepts connections; the test does not
	return listener.Addr().String()
}

// unauthenticatedListener returns the address of an HTTP/2 server with the logic tier's certificate that
// accepts clients without one.
func unauthenticatedListener(t *testing.T) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(shared.certificates(), "logic-tier.crt"), filepath.Join(shared.certificates(), "logic-tier.key"))
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
				_, _ = conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // fails if the client has disconnected
				_, _ = conn.Read(make([]byte, 1024))
			}()
		}
	}()
	return listener.Addr().String()
}

func TestDoctorReportsAgeOfNewestBackup(t *testing.T) {
	backups := shared.directory("backups")
	command := exec.CommandContext(t.Context(), shared.program("data-tier"), "backup", "--data-directory", shared.directory("data"), "--to", backups)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	env := onData(t).with("BACKUPS", backups)
	if output, code := runDoctor(t, env); code != 0 {
		t.Errorf("got exit code %d:\n%s", code, output)
	}
	expectFailure(t, env.with("BACKUP_AGE", "1ns"), "newest backup", "the maximum is 1ns", "data-tier backup")
}
