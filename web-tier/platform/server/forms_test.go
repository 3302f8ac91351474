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

// callerOf takes the caller from headers: in a test all clients have one address.
func callerOf(r *http.Request) logicclient.Caller {
	return logicclient.Caller{Session: r.Header.Get("Session"), Address: r.Header.Get("Address")}
}

func refuseInWords(w http.ResponseWriter, _ *http.Request, p *logicclient.Problem) {
	w.Header().Set("Retry-After", strconv.Itoa(int(p.RetryAfter.Seconds())))
	w.WriteHeader(p.Status)
	_, _ = io.WriteString(w, p.Title)
}

// forms serves a site of one form, whose handler reads it as a page does.
func forms(t *testing.T, handle func(form string)) *httptest.Server {
	t.Helper()
	passage := server.New(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), false, callerOf, refuseInWords, nothingKept)
	served := httptest.NewServer(passage.Handler(passage.Admit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		form, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		handle(string(form))
	}))))
	t.Cleanup(served.Close)
	return served
}

// unfinished sends the first byte of a form of so many bytes, and returns where the
// answer comes.
func unfinished(t *testing.T, served *httptest.Server, address, contentType string, size int) *bufio.Reader {
	t.Helper()
	connection, err := net.Dial("tcp", served.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	if _, err := fmt.Fprintf(connection, "POST / HTTP/1.1\r\nHost: test\r\nAddress: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\nh", address, contentType, size); err != nil {
		t.Fatal(err)
	}
	return bufio.NewReader(connection)
}

// post sends a whole form and returns the status, and when to try again.
func post(t *testing.T, served *httptest.Server, address, session string, form string) (status int, retry string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, served.URL, strings.NewReader(form))
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

func TestUnfinishedFormsOfOneAddressLeaveOthersServed(t *testing.T) {
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
			served := forms(t, func(string) {})
			const attempts = 300 // more than there are slots for forms
			refused := make(chan string, attempts)
			for range attempts {
				answer := unfinished(t, served, "attacker", attack.contentType, attack.size)
				go func() {
					line, _ := answer.ReadString('\n')
					refused <- line
				}()
			}
			// Those within the share are still being read when the others are answered.
			for range attempts - 64 {
				if line := <-refused; !strings.HasPrefix(line, "HTTP/1.1 429 ") {
					t.Fatalf("beyond the share of the address: %q", line)
				}
			}
			if status, _ := post(t, served, "other", "", "a=b"); status != http.StatusOK {
				t.Errorf("another address gets %d", status)
			}
		})
	}
}

// A form is there as a whole when its handler runs, and one byte more than it may have
// shows that it is too large.
func TestFormIsReadBeforeItTakesASlot(t *testing.T) {
	got := make(chan string, 1)
	served := forms(t, func(form string) { got <- form })
	for sent, want := range map[int]int{0: 0, 1000: 1000, server.MaxForm: server.MaxForm, server.MaxForm + 500: server.MaxForm + 1} {
		status, _ := post(t, served, "somebody", "", strings.Repeat("x", sent))
		if n := len(<-got); status != http.StatusOK || n != want {
			t.Errorf("of a form of %d bytes the handler reads %d, want %d; status %d", sent, n, want, status)
		}
	}
}

// hold sends forms as who says until one is refused. It returns how many are processed,
// and with what the last was refused. Those processed stay in posts until the handler ends.
func hold(t *testing.T, served *httptest.Server, posts *sync.WaitGroup, inside <-chan string, who func(n int) (address, session string)) (held, status int, retry string) {
	t.Helper()
	type answer struct {
		status int
		retry  string
	}
	answers := make(chan answer, 1)
	for ; held < 10_000; held++ {
		address, session := who(held)
		posts.Go(func() {
			status, retry := post(t, served, address, session, "a=b")
			select {
			case answers <- answer{status, retry}:
			default: // processed after another was refused
			}
		})
		select {
		case <-inside:
		case a := <-answers:
			return held, a.status, a.retry
		}
	}
	t.Fatal("there is no bound")
	return 0, 0, ""
}

func TestFormsAreBoundedForEachSessionAddressAndForAll(t *testing.T) {
	inside, release := make(chan string), make(chan struct{})
	served := forms(t, func(form string) {
		inside <- form
		<-release
	})
	var posts sync.WaitGroup
	defer posts.Wait()
	defer close(release)
	for _, c := range []struct {
		name   string
		who    func(n int) (address, session string)
		status int
	}{
		{"session", func(n int) (string, string) { return fmt.Sprint("home-", n), "greedy" }, http.StatusTooManyRequests},
		{"address", func(n int) (string, string) { return "school", fmt.Sprint("pupil-", n) }, http.StatusTooManyRequests},
		{"all", func(n int) (string, string) { return fmt.Sprint("address-", n), "" }, http.StatusServiceUnavailable},
	} {
		held, status, retry := hold(t, served, &posts, inside, c.who)
		if held == 0 || status != c.status || retry == "" || retry == "0" {
			t.Errorf("%s: after %d forms refused with %d, Retry-After %q; want %d", c.name, held, status, retry, c.status)
		}
	}
}
