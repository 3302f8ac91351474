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

func dialWithin(d time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return (&net.Dialer{Timeout: d, KeepAlive: 5 * time.Second}).DialContext
}

// publisher publishes talk after talk on a channel, and remembers which were
// acknowledged. One that was not is sent again: it carries a request id.
type publisher struct {
	*visitors
	session, channel string

	mu           sync.Mutex
	acknowledged []string // titles, in order
	tried        string   // the one that is not acknowledged yet
}

func (p *publisher) run(ctx, stopping context.Context) error {
	for n := 1; stopping.Err() == nil; n++ {
		title := fmt.Sprintf("%s %06d", p.channel, n)
		p.mu.Lock()
		p.tried = title
		p.mu.Unlock()
		if _, err := p.form(ctx, p.session, "/channels/"+p.channel+"/talks", url.Values{
			"title": {title}, "speakers": {"Somebody"}, "language": {"eng"}, "request_id": {transport.NewRequestID()},
		}, http.StatusSeeOther); err != nil {
			return fmt.Errorf("publish %q: %w", title, err)
		}
		p.mu.Lock()
		p.acknowledged, p.tried = append(p.acknowledged, title), ""
		p.mu.Unlock()
		pause(stopping, publishPause)
	}
	return nil
}

// publishPause is between two talks of a channel: in the longest drill they stay fewer
// than an inbox keeps.
const publishPause = 100 * time.Millisecond

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// follower hears what is published on the channels it follows, over a stream that it opens
// again whenever it ends.
type follower struct {
	*visitors
	name, session string
	channels      []string

	mu      sync.Mutex
	heard   []string // titles, in order, since the last reset
	resets  int
	streams int // opened
	last    string
}

// hears returns the titles it has heard so far, in order, since the last reset.
func (f *follower) hears() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.heard)
}

// wasReset is whether it was ever told to begin anew.
func (f *follower) wasReset() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.resets > 0
}

// run hears until ctx ends.
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

// stream hears until the stream ends; an error is one that no waiting mends.
func (f *follower) stream(ctx context.Context) error {
	ctx, done := context.WithCancel(ctx)
	defer done()
	site := f.site[f.next.Add(1)%uint64(len(f.site))]
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, site+"/inbox/stream", nil)
	if err != nil {
		return err
	}
	f.mu.Lock()
	id := f.last
	f.mu.Unlock()
	request.Header.Set("Last-Event-ID", id)
	request.Header.Set("Cookie", f.session)
	response, err := f.http.Do(request)
	if err != nil {
		return nil // that web tier is away; another may not be
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		if response.StatusCode < 500 && response.StatusCode != http.StatusTooManyRequests {
			return fmt.Errorf("%s's stream is answered with %s", f.name, response.Status)
		}
		return nil
	}
	f.mu.Lock()
	f.streams++
	f.mu.Unlock()
	// A host that was cut off sends no end: silence beyond its heartbeats is one.
	silence := time.AfterFunc(20*time.Second, done)
	defer silence.Stop()
	var event, data string
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		silence.Reset(20 * time.Second)
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
				if err := f.hear(ctx, event, data); err != nil {
					return nil // the stream is opened again, from where it was
				}
				// An id counts once its event is there, whole (WHATWG HTML, 9.2.6).
				f.mu.Lock()
				f.last = id
				f.mu.Unlock()
				event, data = "", ""
			}
		}
	}
	return nil
}

func (f *follower) hear(ctx context.Context, event, data string) error {
	switch event {
	case "notification":
		var n struct{ Title, Talk string }
		if err := json.Unmarshal([]byte(data), &n); err != nil {
			return err
		}
		f.mu.Lock()
		if n.Talk != "" {
			f.heard = append(f.heard, n.Title)
		}
		f.mu.Unlock()
	case "reset":
		// What was known counts nothing any more: everything anew, and another stream
		// from where that ends, which is later than what the reset says.
		all, cursor, err := f.inbox(ctx)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.heard, f.resets, f.last = all, f.resets+1, cursor
		f.mu.Unlock()
		return errAnew
	}
	return nil
}

// errAnew: the stream that said so is not heard any longer.
var errAnew = errors.New("told to begin anew")

// cursor returns from where the inbox can be followed.
func (f *follower) cursor(ctx context.Context) (string, error) {
	r, err := f.until(ctx, f.session, http.MethodGet, "/inbox/since", nil, nil, http.StatusOK)
	if err != nil {
		return "", err
	}
	var page struct{ Cursor string }
	err = json.Unmarshal(r.body, &page)
	return page.Cursor, err
}

// inbox reads the whole inbox, oldest first: what the database says, and the cursor where
// it ends.
func (f *follower) inbox(ctx context.Context) (titles []string, cursor string, err error) {
	for after, resets := "0", 0; ; {
		r, err := f.until(ctx, f.session, http.MethodGet, "/inbox/since?after="+url.QueryEscape(after), nil, nil, http.StatusOK, http.StatusNotModified)
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
				return nil, "", fmt.Errorf("%s's inbox cannot be read from its beginning: some of it was trimmed", f.name)
			}
			// The epoch of the database that answers is in it: from its beginning.
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

// worker has long work done: archives of its account, one after the other.
type worker struct {
	*visitors
	session string

	mu       sync.Mutex
	accepted []string          // handles
	ended    map[string]string // with which state
}

func (w *worker) run(ctx, stopping context.Context) error {
	for stopping.Err() == nil {
		r, err := w.form(ctx, w.session, "/account/export", url.Values{"request_id": {transport.NewRequestID()}}, http.StatusAccepted)
		if err != nil {
			return err
		}
		handle := r.header.Get("Location")
		w.mu.Lock()
		w.accepted = append(w.accepted, handle)
		w.mu.Unlock()
		if err := w.follow(ctx, handle); err != nil {
			return err
		}
		pause(stopping, 100*time.Millisecond)
	}
	return nil
}

// follow waits for the end of an operation, by long polls.
func (w *worker) follow(ctx context.Context, handle string) error {
	for {
		r, err := w.until(ctx, w.session, http.MethodGet, handle, http.Header{"Accept": {"application/json"}}, nil, http.StatusOK)
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
			w.mu.Lock()
			w.ended[handle] = strings.TrimSpace(o.Metadata.State + " " + o.Error.Message)
			w.mu.Unlock()
			return nil
		}
		r, err = w.once(ctx, w.session, http.MethodGet, handle+"/wait?timeout=2s&after="+url.QueryEscape(o.Metadata.Cursor), http.Header{"Accept": {"application/json"}}, nil)
		if err != nil || r.status != http.StatusOK && r.status != http.StatusNoContent {
			pause(ctx, retryPause)
		}
	}
}

// uploader uploads file after file by the tus protocol, going on from where the server
// says, and has each compared with what it holds in the end.
type uploader struct {
	*visitors
	session string

	mu    sync.Mutex
	whole int
}

const uploadSize = 700_000 // three chunks, the last one not full

var tus = http.Header{"Tus-Resumable": {"1.0.0"}}

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
	header := tus.Clone()
	header.Set("Upload-Length", strconv.Itoa(len(content)))
	header.Set("Upload-Metadata", "filename "+base64.StdEncoding.EncodeToString([]byte("drill.zip"))+",filetype "+base64.StdEncoding.EncodeToString([]byte("application/zip")))
	created, err := u.until(ctx, u.session, http.MethodPost, "/uploads", header, nil, http.StatusCreated)
	if err != nil {
		return err
	}
	at, err := url.Parse(created.header.Get("Location"))
	if err != nil {
		return err
	}
	for {
		is, err := u.until(ctx, u.session, http.MethodHead, at.Path, tus, nil, http.StatusOK, http.StatusNoContent)
		if err != nil {
			return err
		}
		offset, err := strconv.Atoi(is.header.Get("Upload-Offset"))
		if err != nil {
			return fmt.Errorf("the offset of %s is %q", at.Path, is.header.Get("Upload-Offset"))
		}
		if offset == len(content) {
			break
		}
		header := tus.Clone()
		header.Set("Upload-Offset", strconv.Itoa(offset))
		header.Set("Content-Type", "application/offset+octet-stream")
		// What becomes of it shows when its offset is asked for.
		if r, err := u.once(ctx, u.session, http.MethodPatch, at.Path, header, content[offset:]); err != nil || r.status != http.StatusNoContent {
			pause(ctx, retryPause)
		}
	}
	back, err := u.until(ctx, u.session, http.MethodGet, "/files/"+strings.TrimPrefix(at.Path, "/uploads/"), nil, nil, http.StatusOK)
	if err != nil {
		return err
	}
	if sha256.Sum256(back.body) != sha256.Sum256(content) {
		return fmt.Errorf("%s comes back as %d other bytes", at.Path, len(back.body))
	}
	if _, err := u.until(ctx, u.session, http.MethodDelete, at.Path, tus, nil, http.StatusNoContent, http.StatusNotFound, http.StatusGone); err != nil {
		return err
	}
	u.mu.Lock()
	u.whole++
	u.mu.Unlock()
	return nil
}
