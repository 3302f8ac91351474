package drills

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"techtalks.example/proto/transport"
)

// dialWithin returns a dial function whose connection attempts take at most d.
func dialWithin(d time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return (&net.Dialer{Timeout: d, KeepAlive: 5 * time.Second}).DialContext
}

// publisher publishes talks on a channel, one after the other, and records which were
// acknowledged. It retries a talk with the same request ID until it is.
type publisher struct {
	*siteClient
	session, channel string

	mu           sync.Mutex
	acknowledged []string // titles, in order
	attempted    string   // the title that is not yet acknowledged
}

func (p *publisher) run(ctx, stopping context.Context) error {
	for n := 1; stopping.Err() == nil; n++ {
		title := fmt.Sprintf("%s %06d", p.channel, n)
		p.mu.Lock()
		p.attempted = title
		p.mu.Unlock()
		if _, err := p.postForm(ctx, p.session, "/channels/"+p.channel+"/talks", url.Values{
			"title": {title}, "speakers": {"Ada"}, "language": {"eng"}, "request_id": {transport.NewRequestID()},
		}, http.StatusSeeOther); err != nil {
			return fmt.Errorf("publish %q: %w", title, err)
		}
		p.mu.Lock()
		p.acknowledged, p.attempted = append(p.acknowledged, title), ""
		p.mu.Unlock()
		pause(stopping, publishPause)
	}
	return nil
}

// publishPause is the pause between two talks of a channel. It keeps the talks of the longest
// drill below the size of an inbox.
const publishPause = 100 * time.Millisecond

// pause waits for d or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// follower receives notifications of the channels it follows, over a stream that it reopens
// whenever the stream ends.
type follower struct {
	*siteClient
	name, session string
	channels      []string

	mu          sync.Mutex
	titles      []string // received since the last reset, in order
	resets      int
	streams     int // opened
	lastEventID string
}

// received returns the titles received since the last reset, in order.
func (f *follower) received() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.titles)
}

// wasReset reports whether the follower has ever received a reset.
func (f *follower) wasReset() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resets > 0
}

// run follows the inbox until ctx is done.
func (f *follower) run(ctx context.Context) error {
	for ctx.Err() == nil {
		err := f.stream(ctx)
		if err != nil {
			return err
		}
		pause(ctx, 100*time.Millisecond)
	}
	return nil
}

// stream follows one stream until it ends. It returns an error if retrying cannot help.
func (f *follower) stream(ctx context.Context) error {
	ctx, done := context.WithCancel(ctx)
	defer done()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, f.nextSite()+"/inbox/stream", nil)
	if err != nil {
		return err
	}
	f.mu.Lock()
	id := f.lastEventID
	f.mu.Unlock()
	request.Header.Set("Last-Event-ID", id)
	request.Header.Set("Cookie", f.session)
	response, err := f.http.Do(request)
	if err != nil {
		return nil // the next attempt tries another web tier
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		if response.StatusCode < 500 && response.StatusCode != http.StatusTooManyRequests {
			return fmt.Errorf("open the stream of %s: got status %s", f.name, response.Status)
		}
		return nil
	}
	f.mu.Lock()
	f.streams++
	f.mu.Unlock()
	// A host that is cut off does not close the connection: a stream without heartbeats is
	// closed here.
	idle := time.AfterFunc(20*time.Second, done)
	defer idle.Stop()
	var event, data string
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		idle.Reset(20 * time.Second)
		line := lines.Text()
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			id = value
		case "event":
			event = value
		case "data":
			data = value
		case "":
			if line == "" {
				if err := f.handleEvent(ctx, event, data); err != nil {
					return nil // the stream is reopened from the last event ID
				}
				// An ID takes effect with its complete event (WHATWG HTML, 9.2.6).
				f.mu.Lock()
				f.lastEventID = id
				f.mu.Unlock()
				event, data = "", ""
			}
		}
	}
	return nil
}

func (f *follower) handleEvent(ctx context.Context, event, data string) error {
	switch event {
	case "notification":
		var n struct{ Title, Talk string }
		if err := json.Unmarshal([]byte(data), &n); err != nil {
			return err
		}
		f.mu.Lock()
		if n.Talk != "" {
			f.titles = append(f.titles, n.Title)
		}
		f.mu.Unlock()
	case "reset":
		// The previous state is invalid. The follower reads the inbox from its start and opens
		// a stream from the cursor there, which is later than the reset's.
		titles, cursor, err := f.inbox(ctx)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.titles, f.resets, f.lastEventID = titles, f.resets+1, cursor
		f.mu.Unlock()
		return errReset
	}
	return nil
}

// errReset ends a stream that sent a reset.
var errReset = errors.New("reset")

// cursor returns the cursor of the inbox's end.
func (f *follower) cursor(ctx context.Context) (string, error) {
	r, err := f.retry(ctx, f.session, http.MethodGet, "/inbox/since", nil, nil, http.StatusOK)
	if err != nil {
		return "", err
	}
	var page struct{ Cursor string }
	err = json.Unmarshal(r.body, &page)
	return page.Cursor, err
}

// inbox reads the whole inbox from the database, oldest first, and returns the cursor of its
// end.
func (f *follower) inbox(ctx context.Context) (titles []string, cursor string, err error) {
	for after, resets := "0", 0; ; {
		r, err := f.retry(ctx, f.session, http.MethodGet, "/inbox/since?after="+url.QueryEscape(after), nil, nil, http.StatusOK, http.StatusNotModified)
		if err != nil {
			return nil, "", err
		}
		if r.status == http.StatusNotModified {
			return titles, after, nil
		}
		var page struct {
			Notifications []struct{ ID, Title, Talk string }
			Cursor        string
			More          bool
			Reset         *struct{ Cursor string }
		}
		if err := json.Unmarshal(r.body, &page); err != nil {
			return nil, "", err
		}
		if page.Reset != nil {
			if resets++; resets > 2 {
				return nil, "", fmt.Errorf("read the inbox of %s from its start: notifications have been trimmed", f.name)
			}
			// The cursor has the epoch of the new database; the inbox is read from its start.
			epoch, _, _ := strings.Cut(page.Reset.Cursor, "-")
			after = epoch + "-0"
			continue
		}
		for _, n := range page.Notifications {
			if n.Talk != "" {
				titles = append(titles, n.Title)
			}
		}
		after = page.Cursor
		if !page.More {
			return titles, after, nil
		}
	}
}

// exporter exports its account, again and again.
type exporter struct {
	*siteClient
	session string

	mu       sync.Mutex
	accepted []string          // paths of operations
	states   map[string]string // final states, by operation
}

func (e *exporter) run(ctx, stopping context.Context) error {
	for stopping.Err() == nil {
		r, err := e.postForm(ctx, e.session, "/account/export", url.Values{"request_id": {transport.NewRequestID()}}, http.StatusAccepted)
		if err != nil {
			return err
		}
		operation := r.header.Get("Location")
		e.mu.Lock()
		e.accepted = append(e.accepted, operation)
		e.mu.Unlock()
		if err := e.follow(ctx, operation); err != nil {
			return err
		}
		pause(stopping, 100*time.Millisecond)
	}
	return nil
}

// follow follows an operation by long polls until it is done.
func (e *exporter) follow(ctx context.Context, operation string) error {
	for {
		r, err := e.retry(ctx, e.session, http.MethodGet, operation, http.Header{"Accept": {"application/json"}}, nil, http.StatusOK)
		if err != nil {
			return err
		}
		var o struct {
			Done     bool
			Metadata struct{ State, Cursor string }
			Error    struct{ Message string }
		}
		if err := json.Unmarshal(r.body, &o); err != nil {
			return err
		}
		if o.Done {
			e.mu.Lock()
			e.states[operation] = strings.TrimSpace(o.Metadata.State + " " + o.Error.Message)
			e.mu.Unlock()
			return nil
		}
		r, err = e.send(ctx, e.session, http.MethodGet, operation+"/wait?timeout=2s&after="+url.QueryEscape(o.Metadata.Cursor), http.Header{"Accept": {"application/json"}}, nil)
		if err != nil || r.status != http.StatusOK && r.status != http.StatusNoContent {
			pause(ctx, retryPause)
		}
	}
}

// uploader uploads files by the tus protocol, one after the other, resuming at the server's
// offset, and compares each with its download.
type uploader struct {
	*siteClient
	session string

	mu        sync.Mutex
	completed int
}

const uploadSize = 700_000 // bytes: three chunks, the last of them partial

// tusHeader is the header of each request of the tus protocol.
var tusHeader = http.Header{"Tus-Resumable": {"1.0.0"}}

func (u *uploader) run(ctx, stopping context.Context) error {
	for stopping.Err() == nil {
		if err := u.upload(ctx); err != nil {
			return err
		}
		pause(stopping, 100*time.Millisecond)
	}
	return nil
}

func (u *uploader) upload(ctx context.Context) error {
	content := make([]byte, uploadSize)
	_, _ = rand.Read(content)
	header := tusHeader.Clone()
	header.Set("Upload-Length", strconv.Itoa(len(content)))
	header.Set("Upload-Metadata", "filename "+base64.StdEncoding.EncodeToString([]byte("drill.zip"))+",filetype "+base64.StdEncoding.EncodeToString([]byte("application/zip")))
	created, err := u.retry(ctx, u.session, http.MethodPost, "/uploads", header, nil, http.StatusCreated)
	if err != nil {
		return err
	}
	location, err := url.Parse(created.header.Get("Location"))
	if err != nil {
		return err
	}
	for {
		head, err := u.retry(ctx, u.session, http.MethodHead, location.Path, tusHeader, nil, http.StatusOK, http.StatusNoContent)
		if err != nil {
			return err
		}
		offset, err := strconv.Atoi(head.header.Get("Upload-Offset"))
		if err != nil {
			return fmt.Errorf("invalid offset of %s: %q", location.Path, head.header.Get("Upload-Offset"))
		}
		if offset == len(content) {
			break
		}
		header := tusHeader.Clone()
		header.Set("Upload-Offset", strconv.Itoa(offset))
		header.Set("Content-Type", "application/offset+octet-stream")
		// The next HEAD shows how much of it was stored.
		if r, err := u.send(ctx, u.session, http.MethodPatch, location.Path, header, content[offset:]); err != nil || r.status != http.StatusNoContent {
			pause(ctx, retryPause)
		}
	}
	download, err := u.retry(ctx, u.session, http.MethodGet, "/files/"+strings.TrimPrefix(location.Path, "/uploads/"), nil, nil, http.StatusOK)
	if err != nil {
		return err
	}
	if sha256.Sum256(download.body) != sha256.Sum256(content) {
		return fmt.Errorf("download of %s: got %d bytes that differ from the upload", location.Path, len(download.body))
	}
	if _, err := u.retry(ctx, u.session, http.MethodDelete, location.Path, tusHeader, nil, http.StatusNoContent, http.StatusNotFound, http.StatusGone); err != nil {
		return err
	}
	u.mu.Lock()
	u.completed++
	u.mu.Unlock()
	return nil
}
