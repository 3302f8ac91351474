package server_test

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

func serve(t *testing.T, log io.Writer, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("/", handle)
	middleware := server.New(slog.New(slog.NewTextHandler(log, nil)), prometheus.NewRegistry(), false, noCaller,
		func(w http.ResponseWriter, _ *http.Request, p *logicclient.Problem) {
			w.WriteHeader(p.Status)
			_, _ = io.WriteString(w, p.Title)
		}, noStalePage)
	site := httptest.NewServer(middleware.Handler(mux))
	t.Cleanup(site.Close)
	return site
}

func TestURLsThatAreNotUTF8AreRejected(t *testing.T) {
	site := serve(t, io.Discard, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	for path, want := range map[string]int{
		"/ok?q=caf%C3%A9": 200, "/%ff": 400, "/?q=%ff": 400, "/?q=%zz": 400, "/?%ff=x": 400,
	} {
		response, err := http.Get(site.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, response.StatusCode, want)
		}
	}
}

func TestPanicIsAnsweredAndLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	site := serve(t, &log, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("secret detail")
		}
	})
	response, err := http.Get(site.URL + "/panic")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if response.StatusCode != 500 || strings.Contains(string(body), "secret detail") {
		t.Errorf("got %d %q, want 500 without the panic's text", response.StatusCode, body)
	}
	response, err = http.Get(site.URL + "/ok")
	if err != nil {
		t.Fatalf("request after a panic: %v", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("got %s for a request after a panic, want 200", response.Status)
	}
	site.Close() // the request is logged after the handler has returned
	if n := strings.Count(log.String(), "secret detail"); n != 1 {
		t.Errorf("got the panic logged %d times, want once:\n%s", n, log.String())
	}
}

func TestCrossOriginFormsAreRejected(t *testing.T) {
	site := serve(t, io.Discard, func(http.ResponseWriter, *http.Request) {})
	request, _ := http.NewRequest(http.MethodPost, site.URL, nil)
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("got %d, want %d", response.StatusCode, http.StatusForbidden)
	}
}

// A handler can flush its response and set its own write deadline through the middleware.
func TestResponseControllerReachesTheConnection(t *testing.T) {
	release := make(chan struct{})
	site := serve(t, io.Discard, func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		if err := control.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Errorf("SetWriteDeadline: %v", err)
		}
		_, _ = io.WriteString(w, "first\n")
		if err := control.Flush(); err != nil {
			t.Errorf("Flush: %v", err)
		}
		<-release
	})
	defer close(release)
	response, err := http.Get(site.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, 6)
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "first\n" {
		t.Errorf("got %q, %v while the handler is running, want the flushed bytes", first, err)
	}
}

// noCaller returns the zero Caller, for tests in which the caller does not matter.
func noCaller(*http.Request) logicclient.Caller { return logicclient.Caller{} }

// noStalePage is the StaleHandler of a site that keeps no pages.
func noStalePage(http.ResponseWriter, *http.Request) bool { return false }

// A browser that reads its response slowly occupies no slot of a page.
func TestSlowReadersHoldNoPageSlot(t *testing.T) {
	release := make(chan struct{})
	middleware := server.New(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), false, noCaller, nil, noStalePage)
	site := httptest.NewServer(middleware.Handler(middleware.Admit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			return
		}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-release // like a write that blocks on a slow reader
	}))))
	defer site.Close()
	defer close(release)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for range 100 {
			request, err := http.NewRequest(method, site.URL+"/slow", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Fatalf("%s /slow: got %d, want 200", method, response.StatusCode)
			}
		}
		response, err := http.Get(site.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("got %d for a page beside slow %s requests, want 200", response.StatusCode, method)
		}
	}
}

// A request that gets no slot in time is shed without rendering anything: a program gets a
// problem, a browser the stale page or one that reloads itself. Requests are admitted again
// when slots are free.
func TestPagesAboveTheLimitAreShed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stale := false
		middleware := server.New(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), false, noCaller,
			func(w http.ResponseWriter, _ *http.Request, p *logicclient.Problem) {
				if p.Status != http.StatusServiceUnavailable || p.RetryAfter <= 0 {
					t.Errorf("got problem %+v, want a 503 with RetryAfter", p)
				}
				w.WriteHeader(p.Status)
				_, _ = io.WriteString(w, "problem")
			},
			func(w http.ResponseWriter, _ *http.Request) bool {
				if stale {
					_, _ = io.WriteString(w, "stale page")
				}
				return stale
			})
		admitted, finish, responses := make(chan struct{}), make(chan struct{}), make(chan *httptest.ResponseRecorder)
		pages := middleware.Admit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			admitted <- struct{}{}
			<-finish
		}))
		get := func(header, value string) {
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.Header.Set(header, value)
			response := httptest.NewRecorder()
			pages.ServeHTTP(response, request)
			responses <- response
		}
		sent := 0
		var shed *httptest.ResponseRecorder
		for ; shed == nil; sent++ {
			if sent > 10_000 {
				t.Fatal("got 10,000 requests admitted, want a limit")
			}
			go get("Accept", "text/html")
			select {
			case <-admitted:
			case shed = <-responses:
			}
		}
		retryAfter := shed.Header().Get("Retry-After")
		if shed.Code != http.StatusServiceUnavailable || retryAfter == "" || !strings.Contains(shed.Body.String(), `http-equiv="refresh" content="`+retryAfter+`"`) {
			t.Errorf("got %d, Retry-After %q, want a 503 that reloads itself:\n%s", shed.Code, retryAfter, shed.Body)
		}
		go get("Accept", "APPLICATION/JSON;q=1")
		if shed = <-responses; shed.Code != http.StatusServiceUnavailable || shed.Body.String() != "problem" {
			t.Errorf("got %d %s for a program, want the problem", shed.Code, shed.Body)
		}
		go get("Accept", "text/html, application/json;q=0.1")
		if shed = <-responses; shed.Code != http.StatusServiceUnavailable || !strings.Contains(shed.Body.String(), "http-equiv") {
			t.Errorf("got %d %s for a browser that also accepts JSON, want the page", shed.Code, shed.Body)
		}
		stale = true
		go get("Accept", "text/html")
		if got := <-responses; got.Code != http.StatusOK || got.Body.String() != "stale page" {
			t.Errorf("got %d %s, want the stale page", got.Code, got.Body)
		}
		// A slot becomes free while this request waits.
		go get("Cookie", "session=ada's")
		synctest.Wait()
		close(finish)
		<-admitted
		for range sent {
			<-responses
		}
		go get("Accept", "text/html")
		<-admitted
		<-responses
	})
}

// One address fills all slots and the queue. The next free slot goes to a later request of
// another address.
func TestOneAddressDoesNotStarveOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		middleware := server.New(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), false,
			func(r *http.Request) logicclient.Caller { return logicclient.Caller{Address: r.RemoteAddr} },
			func(w http.ResponseWriter, _ *http.Request, p *logicclient.Problem) { w.WriteHeader(p.Status) }, noStalePage)
		admitted, finish := make(chan string, 10_000), make(chan struct{})
		pages := middleware.Admit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			admitted <- r.RemoteAddr
			<-finish
		}))
		get := func(address string) {
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.RemoteAddr = address
			request.Header.Set("Cookie", "session=any")
			go pages.ServeHTTP(httptest.NewRecorder(), request)
			synctest.Wait()
		}
		const greedy, other = "192.0.2.1", "192.0.2.2"
		for sent := 1; ; sent++ {
			if get(greedy); len(admitted) < sent {
				break
			}
		}
		get(greedy)
		get(other)
		for len(admitted) > 0 {
			<-admitted
		}
		finish <- struct{}{}
		synctest.Wait()
		if got := <-admitted; got != other {
			t.Errorf("got %s admitted to the free slot, want %s", got, other)
		}
		close(finish)
	})
}
