package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// watchers is how many people watch at once, each at watchSpeed bytes a second, as
// a browser does that has a few seconds ahead.
const (
	watchers   = 50
	watchSpeed = 400 << 10
)

// measureBytes sends a file in and reads it out through three tiers, and over one
// connection with TLS, in turn.
func measureBytes(ctx context.Context, b *bench) error {
	s, db, err := b.runningWithDatabase(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := followers(ctx, db, 1); err != nil {
		return err
	}
	size := b.size(64<<20, 2<<20)
	content := make([]byte, size)
	noise := rand.NewChaCha8([32]byte{1})
	_, _ = noise.Read(content) // a recording does not compress, neither does it
	pipe, err := newPipe(s.certificates())
	if err != nil {
		return err
	}
	defer pipe.close()

	var up, down, in, out []float64
	var file string
	for range b.runs {
		took, name, err := s.upload(ctx, content)
		if err != nil {
			return fmt.Errorf("upload: %w", err)
		}
		up = append(up, float64(size)/took.Seconds()/1e6)
		if took, err = pipe.copy(content); err != nil {
			return fmt.Errorf("over one connection: %w", err)
		}
		in = append(in, float64(size)/took.Seconds()/1e6)
		file = "/files/" + strings.TrimPrefix(name, "uploads/")
		if took, err = s.fetch(ctx, file, content); err != nil {
			return fmt.Errorf("read: %w", err)
		}
		down = append(down, float64(size)/took.Seconds()/1e6)
		if took, err = pipe.copy(content); err != nil {
			return fmt.Errorf("over one connection: %w", err)
		}
		out = append(out, float64(size)/took.Seconds()/1e6)
	}
	compare := func(what string, ours, theirs []float64) row {
		return row{what: what, ours: spread(ours, "%.0f MB/s"), against: spread(theirs, "%.0f MB/s"), ratio: fmt.Sprintf("%.2f", median(ours)/median(theirs))}
	}
	b.table("bytes", "one TLS connection", compare("a file in, by tus", up, in), compare("a file out", down, out))
	return b.measureWatching(ctx, s, file)
}

// measureWatching has many watch at once, and looks at what each tier keeps.
func (b *bench) measureWatching(ctx context.Context, s *site, file string) error {
	tiers := []string{"web-tier", "logic-tier", "data-tier"}
	before := map[string]float64{}
	for _, tier := range tiers {
		before[tier] = share(s.pids(tier))
	}
	n, lasts := b.size(watchers, 5), time.Duration(b.size(20, 2))*time.Second
	watching, done := context.WithTimeout(ctx, lasts)
	defer done()
	var all sync.WaitGroup
	var seen atomic.Int64
	for range n {
		all.Go(func() { _ = s.watch(watching, file, &seen) })
	}
	most := map[string]float64{}
	for watching.Err() == nil {
		for _, tier := range tiers {
			most[tier] = max(most[tier], share(s.pids(tier)))
		}
		select {
		case <-watching.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	all.Wait()
	rows := []row{{what: fmt.Sprintf("%d watch, each gets", n), ours: fmt.Sprintf("%.0f KB/s", float64(seen.Load())/1024/float64(n)/lasts.Seconds()),
		against: fmt.Sprintf("%.0f KB/s", float64(watchSpeed)/1024)}}
	for _, tier := range tiers {
		rows = append(rows, row{what: "memory, " + tier, ours: megabytes(most[tier]), against: megabytes(before[tier])})
	}
	b.table("bytes", "asked for, or nobody watches", rows...)
	return nil
}

// ask makes a request as the first follower.
func (s *site) ask(ctx context.Context, method, path string, body io.Reader, header ...string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s.web+path, body)
	if err != nil {
		return nil, err
	}
	request.Host = "bench" // without a port, which the cookie's name would have
	request.Header.Set("Cookie", "session="+deviceSession())
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return http.DefaultClient.Do(request)
}

// upload sends a file in one piece and returns its name.
func (s *site) upload(ctx context.Context, content []byte) (took time.Duration, name string, err error) {
	ctx, done := context.WithTimeout(ctx, 2*time.Minute)
	defer done()
	made, err := s.ask(ctx, http.MethodPost, "/uploads", nil, "Tus-Resumable", "1.0.0", "Upload-Length", strconv.Itoa(len(content)))
	if err != nil {
		return 0, "", err
	}
	_ = made.Body.Close()
	at := made.Header.Get("Location")
	i := strings.Index(at, "/uploads/")
	if made.StatusCode != http.StatusCreated || i < 0 {
		return 0, "", fmt.Errorf("answered %s at %q", made.Status, at)
	}
	at = at[i:]
	began := time.Now()
	sent, err := s.ask(ctx, http.MethodPatch, at, bytes.NewReader(content),
		"Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
	if err != nil {
		return 0, "", err
	}
	defer sent.Body.Close()
	if got := sent.Header.Get("Upload-Offset"); got != strconv.Itoa(len(content)) {
		return 0, "", fmt.Errorf("answered %s, with %q bytes", sent.Status, got)
	}
	return time.Since(began), strings.TrimPrefix(at, "/"), nil
}

// fetch reads a file and compares it.
func (s *site) fetch(ctx context.Context, path string, want []byte) (time.Duration, error) {
	ctx, done := context.WithTimeout(ctx, 2*time.Minute)
	defer done()
	began := time.Now()
	response, err := s.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	got := bytes.NewBuffer(make([]byte, 0, len(want)+1))
	_, err = got.ReadFrom(response.Body)
	took := time.Since(began)
	if err == nil && !bytes.Equal(got.Bytes(), want) {
		err = fmt.Errorf("answered %s with %d bytes, others than were sent", response.Status, got.Len())
	}
	return took, err
}

// watch reads a file again and again, no faster than it is watched.
func (s *site) watch(ctx context.Context, path string, seen *atomic.Int64) error {
	piece := make([]byte, 64<<10)
	tick := time.NewTicker(time.Duration(len(piece)) * time.Second / watchSpeed)
	defer tick.Stop()
	for {
		response, err := s.ask(ctx, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		for err == nil {
			var n int
			n, err = io.ReadFull(response.Body, piece)
			seen.Add(int64(n))
			select {
			case <-ctx.Done():
				err = ctx.Err()
			case <-tick.C:
			}
		}
		_ = response.Body.Close()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
