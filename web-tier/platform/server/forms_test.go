package server_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

// callerOf reads the caller from headers: in a test all clients have the same address.
func callerOf(r *http.Request) logicclient.Caller {
	return logicclient.Caller{Session: r.Header.Get("Session"), Address: r.Header.Get("Address")}
}

func writeProblem(w http.ResponseWriter, _ *http.Request, p *logicclient.Problem) {
	w.Header().Set("Retry-After", strconv.Itoa(int(p.RetryAfter.Seconds())))
	w.WriteHeader(p.Status)
	_, _ = io.WriteString(w, p.Title)
}

// forms serves a site with one form, whose handler reads it as a page does.
func forms(t *testing.T, handle func(form string)) *httptest.Server {
	t.Helper()
	middleware := server.New(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), false, callerOf, writeProblem, noStalePage)
	site := httptest.NewServer(middleware.Handler(middleware.Admit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		handle(string(form))
	}))))
	t.Cleanup(site.Close)
	return site
}

// startForm sends the headers and the first byte of a form of the given size, and returns a
// reader of the response.
func startForm(t *testing.T, site *httptest.Server, address, contentType string, size int) *bufio.Reader {
	t.Helper()
	connection, err := net.Dial("tcp", site.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if _, err := fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: test\r\nAddress: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\nh", address, contentType, size); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(connection)
}

// post sends a whole form and returns the status and the Retry-After header.
func post(t *testing.T, site *httptest.Server, address, session string, form string) (status int, retryAfter string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, site.URL, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Address": {address}, "Session": {session}, "Content-Type": {"application/x-www-form-urlencoded"}}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode, response.Header.Get("Retry-After")
}

func TestIncompleteFormsOfOneAddressDoNotBlockOthers(t *testing.T) {
	for _, attack := range []struct {
		name, contentType string
		size              int
	}{
		{"fields", "application/x-www-form-urlencoded", 100},
		{"small file", "multipart/form-data; boundary=b", 100},
		{"large file", "multipart/form-data; boundary=b", 1 << 30},
	} {
		t.Run(attack.name, func(t *testing.T) {
			t.Parallel()
			site := forms(t, func(string) {})
			const attempts = 300 // more than formSlots.Total
			statusLines := make(chan string, attempts)
			for range attempts {
				response := startForm(t, site, "attacker", attack.contentType, attack.size)
				go func() {
					line, _ := response.ReadString('\n')
					statusLines <- line
				}()
			}
			// The 64 within the share are still being read when the others are answered.
			for range attempts - 64 {
				if line := <-statusLines; !strings.HasPrefix(line, "HTTP/1.1 429 ") {
					t.Fatalf("got %q above the share of the address, want a 429", line)
				}
			}
			if status, _ := post(t, site, "other", "", "a=b"); status != http.StatusOK {
				t.Errorf("got %d for another address, want 200", status)
			}
		})
	}
}

// A form has arrived completely when its handler runs. One byte more than MaxForm shows the
// handler that it is too large.
func TestFormIsReadBeforeItTakesASlot(t *testing.T) {
	got := make(chan string, 1)
	site := forms(t, func(form string) { got <- form })
	for sent, want := range map[int]int{0: 0, 1000: 1000, server.MaxForm: server.MaxForm, server.MaxForm + 500: server.MaxForm + 1} {
		status, _ := post(t, site, "192.0.2.1", "", strings.Repeat("x", sent))
		if n := len(<-got); status != http.StatusOK || n != want {
			t.Errorf("form of %d bytes: got %d bytes and status %d, want %d bytes and 200", sent, n, status, want)
		}
	}
}

// hold sends forms, each from the address and session that caller returns, until one is
// rejected. It returns how many are being processed, and the status and Retry-After of the
// rejected one. posts tracks the forms being processed until their handler returns.
func hold(t *testing.T, site *httptest.Server, posts *sync.WaitGroup, admitted <-chan string, caller func(n int) (address, session string)) (held, status int, retryAfter string) {
	t.Helper()
	type response struct {
		status     int
		retryAfter string
	}
	rejected := make(chan response, 1)
	for ; held < 10_000; held++ {
		address, session := caller(held)
		posts.Go(func() {
			status, retryAfter := post(t, site, address, session, "a=b")
			select {
			case rejected <- response{status, retryAfter}:
			default: // processed after another was rejected
			}
		})
		select {
		case <-admitted:
		case r := <-rejected:
			return held, r.status, r.retryAfter
		}
	}
	t.Fatal("got 10,000 forms admitted, want a limit")
	return 0, 0, ""
}

func TestFormsAreLimitedPerSessionPerAddressAndInTotal(t *testing.T) {
	admitted, release := make(chan string), make(chan struct{})
	site := forms(t, func(form string) {
		admitted <- form
		<-release
	})
	var posts sync.WaitGroup
	defer posts.Wait()
	defer close(release)
	for _, c := range []struct {
		name   string
		caller func(n int) (address, session string)
		status int
	}{
		{"session", func(n int) (string, string) { return fmt.Sprint("home-", n), "greedy" }, http.StatusTooManyRequests},
		{"address", func(n int) (string, string) { return "school", fmt.Sprint("pupil-", n) }, http.StatusTooManyRequests},
		{"total", func(n int) (string, string) { return fmt.Sprint("address-", n), "" }, http.StatusServiceUnavailable},
	} {
		held, status, retryAfter := hold(t, site, &posts, admitted, c.caller)
		if held == 0 || status != c.status || retryAfter == "" || retryAfter == "0" {
			t.Errorf("%s: got %d with Retry-After %q after %d forms, want %d", c.name, status, retryAfter, held, c.status)
		}
	}
}
