package abuse

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"techtalks.example/deployments/local/localtest"
)

// proxyAddress is the source address of the proxies' connections to the web tier.
const proxyAddress = "127.0.0.9"

// One client behind a proxy guesses passwords until it is rejected, with the forged address of
// another client. Other clients behind the same proxy can still sign in.
func TestGuessesThroughProxyDoNotBlockOthersSignIn(t *testing.T) {
	t.Parallel()
	t.Run("X-Forwarded-For", func(t *testing.T) {
		site := localtest.Up(t, localtest.Folder(t), "TRUSTED_PROXIES="+proxyAddress)
		t.Run("httputil.ReverseProxy", func(t *testing.T) { guessPasswords(t, site, goProxy(t, site)) })
		t.Run("nginx", func(t *testing.T) { guessPasswords(t, site, nginx(t, site)) })
	})
	t.Run("PROXY protocol", func(t *testing.T) {
		requireProgram(t, "haproxy")
		site := localtest.Up(t, localtest.Folder(t), "TRUSTED_PROXIES="+proxyAddress, "PROXY_HEADER=PROXY")
		for _, version := range []string{"send-proxy", "send-proxy-v2"} {
			t.Run(version, func(t *testing.T) { guessPasswords(t, site, haproxy(t, site, version)) })
		}
	})
}

// maxGuesses bounds the attack. It exceeds the number that one address can send before the site
// rejects it.
const maxGuesses = 300

func guessPasswords(t *testing.T, site *localtest.Site, proxy string) {
	others := &bystander{client: newClient(t, proxy, bystanderAddress), site: site}
	others.handle = others.signUp("bystander")
	rejected := false
	others.duringAttack("guesses through a proxy", func(ctx context.Context) {
		guesser := newClient(t, proxy, attacker)
		guesser.http.Transport = forgeForwarded{guesser.http.Transport}
		// Continue after the bystander's last request, until the site rejects the guesser.
		for n := 0; n < maxGuesses && !rejected; n++ {
			got := guesser.do(context.WithoutCancel(ctx), "/sign-in", url.Values{"handle": {fmt.Sprint("unknown-", n)}, "password": {"a guess of a password"}})
			rejected = got == "429"
		}
	})
	if !rejected {
		t.Errorf("the site rejected none of %d guesses from one address", maxGuesses)
	}
	signIn := newClient(t, proxy, bystanderAddress)
	if got := signIn.do(t.Context(), "/sign-in", url.Values{"handle": {others.handle}, "password": {passwordOf(others.handle)}}); got != "303" {
		t.Errorf("sign in from %s while %s is rejected: got %s, want 303", bystanderAddress, attacker, got)
	}
}

// forgeForwarded adds headers that claim the bystander's address.
type forgeForwarded struct{ http.RoundTripper }

func (f forgeForwarded) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("X-Forwarded-For", bystanderAddress)
	r.Header.Set("Forwarded", "for="+bystanderAddress)
	return f.RoundTripper.RoundTrip(r)
}

func goProxy(t *testing.T, site *localtest.Site) string {
	backend, err := url.Parse(site.URL)
	if err != nil {
		t.Fatal(err)
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(proxyAddress)}}
	transport := &http.Transport{DialContext: dialer.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := httptest.NewServer(&httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(backend)
		r.Out.Host = r.In.Host
		r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"] // appends, as most proxies do
		r.SetXForwarded()
	}})
	t.Cleanup(proxy.Close)
	return proxy.URL
}

func nginx(t *testing.T, site *localtest.Site) string {
	address, folder := localtest.FreeAddress(t), t.TempDir()
	return startProxy(t, address, "nginx", filepath.Join(folder, "nginx.conf"), fmt.Sprintf(`
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path %[1]s/body;
	proxy_temp_path %[1]s/proxy;
	fastcgi_temp_path %[1]s/fastcgi;
	uwsgi_temp_path %[1]s/uwsgi;
	scgi_temp_path %[1]s/scgi;
	server {
		listen %[2]s;
		location / {
			proxy_pass %[3]s;
			proxy_bind %[4]s;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
		}
	}
}
`, folder, address, site.URL, proxyAddress), "-c")
}

func haproxy(t *testing.T, site *localtest.Site, send string) string {
	address := localtest.FreeAddress(t)
	return startProxy(t, address, "haproxy", filepath.Join(t.TempDir(), "haproxy.cfg"), fmt.Sprintf(`
defaults
	mode tcp
	timeout connect 10s
	timeout client 1m
	timeout server 1m
listen site
	bind %s
	server web %s source %s %s
`, address, strings.TrimPrefix(site.URL, "http://"), proxyAddress, send), "-f")
}

// requireProgram returns the path of a program, or skips the test if it is not installed.
func requireProgram(t *testing.T, name string) string {
	t.Helper()
	for _, file := range []string{name, "/usr/sbin/" + name} { // not on every PATH
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	t.Skipf("%s is missing: run deployments/local/install.sh proxies", name)
	return ""
}

// startProxy starts a proxy with a configuration, waits until it accepts connections, and
// returns its URL.
func startProxy(t *testing.T, address, program, file, configuration, flag string) string {
	t.Helper()
	path := requireProgram(t, program)
	if err := os.WriteFile(file, []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	proxy := exec.Command(path, flag, file)
	proxy.Stderr = t.Output()
	if err := proxy.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- proxy.Wait() }()
	t.Cleanup(func() {
		_ = proxy.Process.Signal(syscall.SIGTERM)
		<-exited
	})
	for deadline := time.Now().Add(requestTimeout); ; {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
			return "http://" + address
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("%s exited: %v", program, err)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not listen: %v", program, err)
		}
	}
}
