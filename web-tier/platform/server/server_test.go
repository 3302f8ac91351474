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
	passage := server.New(slog.New(slog.NewTextHandler(log, nil)), prometheus.NewRegistry(), false, nobody,
		func(w http.ResponseWriter, _ *http.Request, p *logicclient.Problem) {
			w.WriteHeader(p.Status)
			_, _ = io.WriteString(w, p.Title)
		}, nothingKept)
	served := httptest.NewServer(passage.Handler(mux))
	t.Cleanup(served.Close)
	return served
}

func TestAddressesThatAreNoTextAreRefused(t *testing.T) {
	served := serve(t, io.Discard, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	for path, want := range map[string]int{
		"/ok?q=caf%C3%A9": 200, "/%ff": 400, "/?q=%ff": 400, "/?q=%zz": 400, "/?%ff=x": 400,
	} {
		response, err := http.Get(served.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: got %d, want %d", path, response.StatusCode, want)
		}
	}
}

// A panic is a page for the person and one line for us, and the next request is
// answered.
func TestAPanicIsAPageAndOneLine(t *testing.T) {
	var log bytes.Buffer
	served := serve(t, &log, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/panic" {
			panic("broken pipe dream")
		}
	})
	response, err := http.Get(served.URL + "/panic")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if response.StatusCode != 500 || strings.Contains(string(body), "dream") {
		t.Errorf("got %d %q", response.StatusCode, body)
	}
	response, err = http.Get(served.URL + "/fine")
	if err != nil {
		t.Fatalf("after a panic: %v", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("after a panic: %s", response.Status)
	}
	served.Close() // the line is written when the handler has returned
	if n := strings.Count(log.String(), "broken pipe dream"); n != 1 {
		t.Errorf("the panic is in the log %d times, want once:\n%s", n, log.String())
	}
}

func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	served := serve(t, io.Discard, func(http.ResponseWriter, *http.Request) {})
	request, _ := http.NewRequest(http.MethodPost, served.URL, nil)
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Errorf("got %d", response.StatusCode)
	}
}

// What a stream needs from its writer reaches the connection: flushing, and a
// write deadline of its own.
func TestStreamsReachTheirConnection(t *testing.T) {
	release := make(chan struct{})
	served := serve(t, io.Discard, func(w http.ResponseWriter, _ *http.Request) {
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
	response, err := http.Get(served.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	first := make([]byte, 6)
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "first\n" {
		t.Errorf("got %q, %v while the handler still runs", first, err)
	}
}

// nobody is the caller where it does not matter who asks.
func nobody(*http.Request) logicclient.Caller { return logicclient.Caller{} }

// nothingKept is a site that keeps no pages.
func nothingKept(http.ResponseWriter, *http.Request) bool { return false }

// A browser that reads slowly, or sends a form slowly, is in nobody's way.
func TestSlowBrowsersHoldNoPlaceOfPages(t *testing.T) {
	release := make(chan struct{})
	passage := server.New(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), false, nobody, nil, nothingKept)
	served := httptest.NewServer(passage.Handler(passage.Admit(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			return
		}
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-release // as a connection that takes no more
	}))))
	defer served.Close()
	defer close(release)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for range 100 {
			request, err := http.NewRequest(method, served.URL+"/slow", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Fatalf("%s is answered %d", method, response.StatusCode)
			}
		}
		response, err := http.Get(served.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("beside slow %ss, a page is answered %d", method, response.StatusCode)
		}
	}
}

// At the bound somebody who found no place in time is sent away: with a page that comes
// back by itself, to a program in its own words, and in neither case by making anything.
// When there is room again, the next is made.
func TestNoMorePagesThanThereIsRoomFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := false
		passage := server.New(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), false, nobody,
			func(w http.ResponseWriter, _ *http.Request, p *logicclient.Problem) {
				if p.Status != http.StatusServiceUnavailable || p.RetryAfter <= 0 {
					t.Errorf("refused with %+v", p)
				}
				w.WriteHeader(p.Status)
				_, _ = io.WriteString(w, "refused")
			},
			func(w http.ResponseWriter, _ *http.Request) bool {
				if kept {
					_, _ = io.WriteString(w, "as it was")
				}
				return kept
			})
		inside, leave, over := make(chan struct{}), make(chan struct{}), make(chan *httptest.ResponseRecorder)
		pages := passage.Admit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			inside <- struct{}{}
			<-leave
		}))
		ask := func(header, value string) {
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.Header.Set(header, value)
			answer := httptest.NewRecorder()
			pages.ServeHTTP(answer, request)
			over <- answer
		}
		made := 0
		var refused *httptest.ResponseRecorder
		for ; refused == nil; made++ {
			if made > 10_000 {
				t.Fatal("there is no bound")
			}
			go ask("Accept", "text/html")
			select {
			case <-inside:
			case refused = <-over:
			}
		}
		after := refused.Header().Get("Retry-After")
		if refused.Code != http.StatusServiceUnavailable || after == "" || !strings.Contains(refused.Body.String(), `http-equiv="refresh" content="`+after+`"`) {
			t.Errorf("refused with %d, Retry-After %q and\n%s", refused.Code, after, refused.Body)
		}
		go ask("Accept", "APPLICATION/JSON;q=1")
		if refused = <-over; refused.Code != http.StatusServiceUnavailable || refused.Body.String() != "refused" {
			t.Errorf("a program is refused with %d %s", refused.Code, refused.Body)
		}
		go ask("Accept", "text/html, application/json;q=0.1")
		if refused = <-over; refused.Code != http.StatusServiceUnavailable || !strings.Contains(refused.Body.String(), "http-equiv") {
			t.Errorf("a browser that also takes JSON is refused with %d %s", refused.Code, refused.Body)
		}
		kept = true
		go ask("Accept", "text/html")
		if got := <-over; got.Code != http.StatusOK || got.Body.String() != "as it was" {
			t.Errorf("with a page from before, it is refused with %d %s", got.Code, got.Body)
		}
		// The next place is free in time.
		go ask("Cookie", "session=ada's")
		synctest.Wait()
		close(leave)
		<-inside
		for range made {
			<-over
		}
		go ask("Accept", "text/html")
		<-inside
		<-over
	})
}

// One address asks for more than there are slots, and the next free slot goes to another
// address that asked later.
func TestOneAddressDoesNotCrowdOutOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		passage := server.New(slog.New(slog.DiscardHandler), prometheus.NewRegistry(), false,
			func(r *http.Request) logicclient.Caller { return logicclient.Caller{Address: r.RemoteAddr} },
			func(w http.ResponseWriter, _ *http.Request, p *logicclient.Problem) { w.WriteHeader(p.Status) }, nothingKept)
		admitted, finish := make(chan string, 10_000), make(chan struct{})
		pages := passage.Admit(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			admitted <- r.RemoteAddr
			<-finish
		}))
		ask := func(address string) {
			request := httptest.NewRequest(http.MethodGet, "/", nil)
			request.RemoteAddr = address
			request.Header.Set("Cookie", "session=any")
			go pages.ServeHTTP(httptest.NewRecorder(), request)
			synctest.Wait()
		}
		const greedy, other = "192.0.2.1", "192.0.2.2"
		for asked := 1; ; asked++ {
			if ask(greedy); len(admitted) < asked {
				break
			}
		}
		ask(greedy)
		ask(other)
		for len(admitted) > 0 {
			<-admitted
		}
		finish <- struct{}{}
		synctest.Wait()
		if got := <-admitted; got != other {
			t.Errorf("the free slot goes to %s", got)
		}
		close(finish)
	})
}
