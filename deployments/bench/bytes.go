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

// viewers is the number of concurrent viewers of a recording. Each reads viewRate bytes a second, like
// a browser that has buffered a few seconds.
const (
	viewers  = 50
	viewRate = 400 << 10
)

// measureBytes uploads and downloads a file through three tiers, and sends it over one TLS
// connection, in turn.
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
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(content) // incompressible, like a recording
	pipe, err := newPipe(s.certificates())
	if err != nil {
		return err
	}
	defer pipe.close()

	var uploads, downloads, pipeIn, pipeOut []float64
	var file string
	for range b.runs {
		took, name, err := s.upload(ctx, content)
		if err != nil {
			return fmt.Errorf("upload: %w", err)
		}
		uploads = append(uploads, float64(size)/took.Seconds()/1e6)
		if took, err = pipe.copy(content); err != nil {
			return fmt.Errorf("one connection: %w", err)
		}
		pipeIn = append(pipeIn, float64(size)/took.Seconds()/1e6)
		file = "/files/" + strings.TrimPrefix(name, "uploads/")
		if took, err = s.fetch(ctx, file, content); err != nil {
			return fmt.Errorf("download: %w", err)
		}
		downloads = append(downloads, float64(size)/took.Seconds()/1e6)
		if took, err = pipe.copy(content); err != nil {
			return fmt.Errorf("one connection: %w", err)
		}
		pipeOut = append(pipeOut, float64(size)/took.Seconds()/1e6)
	}
	compare := func(label string, ours, theirs []float64) row {
		return row{label: label, ours: spread(ours, "%.0f MB/s"), baseline: spread(theirs, "%.0f MB/s"), ratio: fmt.Sprintf("%.2f", median(ours)/median(theirs))}
	}
	b.table("bytes", "one TLS connection", compare("upload of a file (tus)", uploads, pipeIn), compare("download of a file", downloads, pipeOut))
	return b.measureViewing(ctx, s, file)
}

// measureViewing measures the memory of each tier while many clients view a recording.
func (b *bench) measureViewing(ctx context.Context, s *site, file string) error {
	tiers := []string{"web-tier", "logic-tier", "data-tier"}
	before := map[string]float64{}
	for _, tier := range tiers {
		before[tier] = proportionalMemory(s.pids(tier))
	}
	n, duration := b.size(viewers, 5), time.Duration(b.size(20, 2))*time.Second
	viewing, done := context.WithTimeout(ctx, duration)
	defer done()
	var all sync.WaitGroup
	var received atomic.Int64
	for range n {
		all.Go(func() { _ = s.view(viewing, file, &received) })
	}
	peak := map[string]float64{}
	for viewing.Err() == nil {
		for _, tier := range tiers {
			peak[tier] = max(peak[tier], proportionalMemory(s.pids(tier)))
		}
		select {
		case <-viewing.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	all.Wait()
	rows := []row{{label: fmt.Sprintf("%d viewers, received by each", n), ours: fmt.Sprintf("%.0f KB/s", float64(received.Load())/1024/float64(n)/duration.Seconds()),
		baseline: fmt.Sprintf("%.0f KB/s", float64(viewRate)/1024)}}
	for _, tier := range tiers {
		rows = append(rows, row{label: "memory, " + tier, ours: megabytes(peak[tier]), baseline: megabytes(before[tier])})
	}
	b.table("bytes", "target, or idle", rows...)
	return nil
}

// request sends a request as the first follower.
func (s *site) request(ctx context.Context, method, path string, body io.Reader, header ...string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s.web+path, body)
	if err != nil {
		return nil, err
	}
	request.Host = "bench" // without a port, which would change the cookie's name
	request.Header.Set("Cookie", "session="+deviceSession())
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return http.DefaultClient.Do(request)
}

// upload uploads a file with one append and returns the duration and the upload's name.
func (s *site) upload(ctx context.Context, content []byte) (took time.Duration, name string, err error) {
	ctx, done := context.WithTimeout(ctx, 2*time.Minute)
	defer done()
	created, err := s.request(ctx, http.MethodPost, "/uploads", nil, "Tus-Resumable", "1.0.0", "Upload-Length", strconv.Itoa(len(content)))
	if err != nil {
		return 0, "", err
	}
	_ = created.Body.Close()
	location := created.Header.Get("Location")
	i := strings.Index(location, "/uploads/")
	if created.StatusCode != http.StatusCreated || i < 0 {
		return 0, "", fmt.Errorf("create upload: %s, Location %q", created.Status, location)
	}
	location = location[i:]
	began := time.Now()
	appended, err := s.request(ctx, http.MethodPatch, location, bytes.NewReader(content),
		"Tus-Resumable", "1.0.0", "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
	if err != nil {
		return 0, "", err
	}
	defer appended.Body.Close()
	if got := appended.Header.Get("Upload-Offset"); got != strconv.Itoa(len(content)) {
		return 0, "", fmt.Errorf("append: %s, Upload-Offset %q", appended.Status, got)
	}
	return time.Since(began), strings.TrimPrefix(location, "/"), nil
}

// fetch downloads a file, compares it with want, and returns the duration.
func (s *site) fetch(ctx context.Context, path string, want []byte) (time.Duration, error) {
	ctx, done := context.WithTimeout(ctx, 2*time.Minute)
	defer done()
	began := time.Now()
	response, err := s.request(ctx, http.MethodGet, path, nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	got := bytes.NewBuffer(make([]byte, 0, len(want)+1))
	_, err = got.ReadFrom(response.Body)
	took := time.Since(began)
	if err == nil && !bytes.Equal(got.Bytes(), want) {
		err = fmt.Errorf("%s with %d bytes that differ from the upload", response.Status, got.Len())
	}
	return took, err
}

// view downloads a file repeatedly at viewRate.
func (s *site) view(ctx context.Context, path string, received *atomic.Int64) error {
	chunk := make([]byte, 64<<10)
	tick := time.NewTicker(time.Duration(len(chunk)) * time.Second / viewRate)
	defer tick.Stop()
	for {
		response, err := s.request(ctx, http.MethodGet, path, nil)
		if err != nil {
			return err
		}
		for err == nil {
			var n int
			n, err = io.ReadFull(response.Body, chunk)
			received.Add(int64(n))
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
