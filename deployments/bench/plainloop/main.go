// Command plainloop is the baseline of live delivery: the simplest server of server-sent events with
// net/http. Each browser has a goroutine and a channel; each message is a write and a flush.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
)

type loop struct {
	mu       sync.Mutex
	browsers map[chan []byte]bool
}

func (l *loop) follow(w http.ResponseWriter, r *http.Request) {
	messages := make(chan []byte, 16)
	l.mu.Lock()
	l.browsers[messages] = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.browsers, messages)
		l.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := w.(http.Flusher)
	fmt.Fprint(w, "retry: 1000\nid: epoch-0\n\n")
	flusher.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case message := <-messages:
			if _, err := w.Write(message); err != nil {
				return
			}
			flusher.Flush()
		}
	}
}

// publish sends n messages of a size to every browser. A slow browser blocks it.
func (l *loop) publish(w http.ResponseWriter, r *http.Request) {
	n, err := strconv.Atoi(r.FormValue("n"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	size, err := strconv.Atoi(r.FormValue("size"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range n {
		head := fmt.Sprintf("id: epoch-%d\nevent: notification\ndata: ", i)
		message := []byte(head + strings.Repeat("x", max(0, size-len(head)-2)) + "\n\n")
		for browser := range l.browsers {
			browser <- message
		}
	}
}

func main() {
	listen := flag.String("listen-address", "", "host:port to listen on")
	flag.Parse()
	l := &loop{browsers: map[chan []byte]bool{}}
	http.HandleFunc("GET /stream", l.follow)
	http.HandleFunc("POST /publish", l.publish)
	if err := http.ListenAndServe(*listen, nil); err != nil { //nolint:gosec // without timeouts, as the baseline
		fmt.Fprintln(os.Stderr, "plainloop:", err)
		os.Exit(1)
	}
}
