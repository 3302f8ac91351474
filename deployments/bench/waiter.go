package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// waiter is a client that follows an operation on one connection.
type waiter struct {
	client *http.Client
	url    string
	cursor string

	requests, empty int64
	bytes           atomic.Int64
	delays          []time.Duration
}

// countingConn counts the bytes of a connection in both directions.
type countingConn struct {
	net.Conn
	bytes *atomic.Int64
}

func (c countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes.Add(int64(n))
	return n, err
}

func (c countingConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.bytes.Add(int64(n))
	return n, err
}

func newWaiter(address string, operation *fakeOperation) *waiter {
	w := &waiter{url: "http://" + address + "/operations/" + operation.id}
	w.client = &http.Client{Transport: &http.Transport{
		MaxConnsPerHost: 1, DisableCompression: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			return countingConn{conn, &w.bytes}, err
		},
	}}
	return w
}

func (w *waiter) request(ctx context.Context, path string, header ...string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return nil, err
	}
	request.Host = "bench" // without a port, which would change the cookie's name
	request.Header.Set("Cookie", "session="+deviceSession())
	request.Header.Set("Accept", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	w.requests++
	return w.client.Do(request)
}

// operationState is the part of an operation that a waiter reads.
type operationState struct {
	Done     bool
	Metadata struct {
		Cursor     string
		UpdateTime time.Time `json:"update_time"`
	}
}

// observe records a response and reports whether the operation is done. A response with a known
// cursor counts as empty.
func (w *waiter) observe(body []byte) (done bool, err error) {
	var operation operationState
	if err := json.Unmarshal(body, &operation); err != nil {
		return false, fmt.Errorf("%w in %.100q", err, body)
	}
	switch {
	case operation.Metadata.Cursor == w.cursor:
		w.empty++
	case w.cursor != "": // the first response is the initial state
		w.delays = append(w.delays, time.Since(operation.Metadata.UpdateTime))
	}
	w.cursor = operation.Metadata.Cursor
	return operation.Done, nil
}

func (w *waiter) poll(ctx context.Context, header func() []string) error {
	defer w.client.CloseIdleConnections()
	// Clients start at independent times.
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rand.N(pollEvery)):
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		response, err := w.request(ctx, "", header()...)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return err
		}
		switch response.StatusCode {
		case http.StatusNotModified:
			w.empty++
		case http.StatusOK:
			if done, err := w.observe(body); err != nil || done {
				return err
			}
		default:
			return fmt.Errorf("got %s: %.200q", response.Status, body)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func shortPoll(ctx context.Context, w *waiter) error {
	return w.poll(ctx, func() []string { return nil })
}

func shortPollTagged(ctx context.Context, w *waiter) error {
	return w.poll(ctx, func() []string {
		if w.cursor == "" {
			return nil
		}
		return []string{"If-None-Match", `"` + w.cursor + `"`}
	})
}

func longPoll(ctx context.Context, w *waiter) error {
	defer w.client.CloseIdleConnections()
	for path := ""; ; path = "/wait?timeout=" + waitTimeout.String() + "&after=" + url.QueryEscape(w.cursor) {
		response, err := w.request(ctx, path)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return err
		}
		switch response.StatusCode {
		case http.StatusNoContent:
			w.empty++
		case http.StatusOK:
			if done, err := w.observe(body); err != nil || done {
				return err
			}
		default:
			return fmt.Errorf("got %s: %.200q", response.Status, body)
		}
	}
}

func eventStream(ctx context.Context, w *waiter) error {
	response, err := w.request(ctx, "/stream", "Accept", "text/event-stream")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("got %s", response.Status)
	}
	for lines := bufio.NewReader(response.Body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if done, err := w.observe([]byte(data)); err != nil || done {
				return err
			}
		}
	}
}
