package drills

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// workload is the clients that use the site during a drill. It knows which requests were
// acknowledged and checks the guarantees against them.
type workload struct {
	*siteClient
	publishers []*publisher
	followers  []*follower
	bystander  *follower // follows no channel
	exporter   *exporter
	uploader   *uploader

	cancel  context.CancelFunc // ends all requests
	stop    context.CancelFunc // ends new work
	clients sync.WaitGroup
	streams sync.WaitGroup

	mu         sync.Mutex
	firstError error // the first error that retrying could not resolve
}

// newWorkload creates the accounts: two publish, three follow them, one follows no channel,
// one exports and one uploads.
func newWorkload(ctx context.Context, sites []string) (*workload, error) {
	w := &workload{siteClient: newSiteClient(sites)}
	var channels []string
	for _, name := range []string{"looms", "engines"} {
		session, err := w.signUp(ctx, "owner-of-"+name)
		if err != nil {
			return nil, err
		}
		if _, err := w.postForm(ctx, session, "/channels", url.Values{"slug": {name}, "title": {name}}, http.StatusSeeOther); err != nil {
			return nil, err
		}
		channels = append(channels, name)
		w.publishers = append(w.publishers, &publisher{siteClient: w.siteClient, session: session, channel: name})
	}
	for name, follows := range map[string][]string{"fan-of-both": channels, "fan-of-looms": channels[:1], "fan-of-engines": channels[1:], "bystander": nil} {
		session, err := w.signUp(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, channel := range follows {
			if _, err := w.postForm(ctx, session, "/channels/"+channel+"/follow", url.Values{}, http.StatusSeeOther, http.StatusOK, http.StatusNoContent); err != nil {
				return nil, err
			}
		}
		f := &follower{siteClient: w.siteClient, name: name, session: session, channels: follows}
		// The cursor is read before anything is published: a stream without a cursor starts
		// at the time of its request.
		if f.lastEventID, err = f.cursor(ctx); err != nil {
			return nil, err
		}
		if follows == nil {
			w.bystander = f
		} else {
			w.followers = append(w.followers, f)
		}
	}
	session, err := w.signUp(ctx, "archivist")
	if err != nil {
		return nil, err
	}
	w.exporter = &exporter{siteClient: w.siteClient, session: session, states: map[string]string{}}
	if session, err = w.signUp(ctx, "uploader"); err != nil {
		return nil, err
	}
	w.uploader = &uploader{siteClient: w.siteClient, session: session}
	return w, nil
}

// start starts the clients, which run until finish or close.
func (w *workload) start(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(ctx)
	stopping, stop := context.WithCancel(ctx)
	w.stop = stop
	for _, p := range w.publishers {
		w.clients.Go(func() { w.recordError(p.run(ctx, stopping)) })
	}
	for _, f := range append(slices.Clone(w.followers), w.bystander) {
		w.streams.Go(func() { w.recordError(f.run(ctx)) })
	}
	w.clients.Go(func() { w.recordError(w.exporter.run(ctx, stopping)) })
	w.clients.Go(func() { w.recordError(w.uploader.run(ctx, stopping)) })
	for _, path := range []string{"/", "/talks", "/channels/looms", "/channels"} {
		w.clients.Go(func() {
			for stopping.Err() == nil {
				_, _ = w.send(stopping, "", http.MethodGet, path, nil, nil) // the tally counts it
				pause(stopping, 50*time.Millisecond)
			}
		})
	}
}

func (w *workload) recordError(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.firstError == nil {
		w.firstError = err
	}
}

// err returns the first error that retrying could not resolve.
func (w *workload) err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.firstError
}

// finish starts no new work and waits, until ctx is done, for the work in progress to finish
// and for all followers to receive their notifications.
func (w *workload) finish(ctx context.Context) error {
	w.stop()
	finished := make(chan struct{})
	go func() {
		w.clients.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-ctx.Done():
		w.cancel()
		<-finished
	}
	for !w.allReceived() && ctx.Err() == nil {
		pause(ctx, 20*time.Millisecond)
	}
	return w.err()
}

// close stops all clients.
func (w *workload) close() {
	if w.cancel != nil {
		w.cancel()
		w.clients.Wait()
		w.streams.Wait()
	}
	w.http.CloseIdleConnections()
}

// allReceived reports whether each follower has received as many notifications as talks were
// acknowledged.
func (w *workload) allReceived() bool {
	for _, f := range w.followers {
		want := 0
		for _, p := range w.publishers {
			if slices.Contains(f.channels, p.channel) {
				p.mu.Lock()
				want += len(p.acknowledged)
				p.mu.Unlock()
			}
		}
		if len(f.received()) < want {
			return false
		}
	}
	return true
}

// violations returns an error for each violation of the guarantees.
func (w *workload) violations(ctx context.Context) (errs []error) {
	add := func(format string, arguments ...any) { errs = append(errs, fmt.Errorf(format, arguments...)) }
	for _, f := range w.followers {
		stored, _, err := f.inbox(ctx)
		if err != nil {
			add("read the inbox of %s: %w", f.name, err)
		}
		received := f.received()
		for _, p := range w.publishers {
			if !slices.Contains(f.channels, p.channel) {
				continue
			}
			for source, titles := range map[string][]string{"stream": received, "inbox": stored} {
				if err := compareTitles(p.acknowledged, p.attempted, titlesOf(titles, p.channel)); err != nil {
					add("%s of %s, channel %s: %w", source, f.name, p.channel, err)
				}
			}
		}
		if foreign := slices.DeleteFunc(slices.Clone(received), func(title string) bool {
			return slices.ContainsFunc(f.channels, func(channel string) bool { return strings.HasPrefix(title, channel+" ") })
		}); len(foreign) > 0 {
			add("%s received notifications of channels it does not follow: %q", f.name, foreign)
		}
	}
	if received := w.bystander.received(); len(received) > 0 {
		add("an account that follows no channel received %q", received)
	}
	for _, operation := range w.exporter.accepted {
		if state := w.exporter.states[operation]; state != "STATE_SUCCEEDED" {
			add("accepted operation %s: got state %q, want STATE_SUCCEEDED", operation, state)
		}
		r, err := w.retry(ctx, w.bystander.session, http.MethodGet, operation, http.Header{"Accept": {"application/json"}}, nil, http.StatusNotFound, http.StatusForbidden)
		if err != nil {
			add("operation %s, requested by another account: %s, %w", operation, r, err)
		}
	}
	w.tally.mu.Lock()
	defer w.tally.mu.Unlock()
	for request, count := range w.tally.unexpected {
		add("error without Retry-After, %d times: %s", count, request)
	}
	return errs
}

// titlesOf returns the titles of a channel's talks.
func titlesOf(titles []string, channel string) (filtered []string) {
	for _, title := range titles {
		if strings.HasPrefix(title, channel+" ") {
			filtered = append(filtered, title)
		}
	}
	return filtered
}

// compareTitles checks that the acknowledged talks were received once and in order. The last
// received talk can also be the attempted one, which was not acknowledged.
func compareTitles(acknowledged []string, attempted string, received []string) error {
	if attempted != "" && len(received) > 0 && received[len(received)-1] == attempted {
		received = received[:len(received)-1]
	}
	if slices.Equal(acknowledged, received) {
		return nil
	}
	var lost, duplicated []string
	counts := map[string]int{}
	for _, title := range received {
		if counts[title]++; counts[title] == 2 {
			duplicated = append(duplicated, title)
		}
	}
	for _, title := range acknowledged {
		if counts[title] == 0 {
			lost = append(lost, title)
		}
	}
	if len(lost)+len(duplicated) > 0 {
		return fmt.Errorf("of %d acknowledged talks %d were lost %q, %d duplicated %q", len(acknowledged), len(lost), lost[:min(len(lost), 5)], len(duplicated), duplicated[:min(len(duplicated), 5)])
	}
	for i, title := range received {
		if i >= len(acknowledged) || acknowledged[i] != title {
			return fmt.Errorf("out of order: %q is number %d of %d", title, i+1, len(received))
		}
	}
	return errors.New("received talks differ from acknowledged ones")
}
