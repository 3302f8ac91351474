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

// crowd is people who use a site, and what they were promised.
type crowd struct {
	*visitors
	publishers []*publisher
	followers  []*follower
	stranger   *follower // of no channel
	worker     *worker
	uploader   *uploader

	end     context.CancelFunc // of what they do
	stop    context.CancelFunc // of beginning anything new
	working sync.WaitGroup
	hearing sync.WaitGroup

	mu      sync.Mutex
	trouble error // the first thing that somebody could not do, ever
}

// gather has people come: two publish, three follow, one follows nobody, and others read,
// upload and have archives made.
func gather(ctx context.Context, site []string) (*crowd, error) {
	c := &crowd{visitors: newVisitors(site)}
	signUp := func(name string) (string, error) { return c.signUp(ctx, name) }
	var channels []string
	for _, name := range []string{"looms", "engines"} {
		session, err := signUp("owner-of-" + name)
		if err != nil {
			return nil, err
		}
		if _, err := c.form(ctx, session, "/channels", url.Values{"slug": {name}, "title": {name}}, http.StatusSeeOther); err != nil {
			return nil, err
		}
		channels = append(channels, name)
		c.publishers = append(c.publishers, &publisher{visitors: c.visitors, session: session, channel: name})
	}
	for name, follows := range map[string][]string{"fan-of-both": channels, "fan-of-looms": channels[:1], "fan-of-engines": channels[1:], "stranger": nil} {
		session, err := signUp(name)
		if err != nil {
			return nil, err
		}
		for _, channel := range follows {
			if _, err := c.form(ctx, session, "/channels/"+channel+"/follow", url.Values{}, http.StatusSeeOther, http.StatusOK, http.StatusNoContent); err != nil {
				return nil, err
			}
		}
		f := &follower{visitors: c.visitors, name: name, session: session, channels: follows}
		// Before anything is published: a stream without a cursor begins when it is open.
		if f.last, err = f.cursor(ctx); err != nil {
			return nil, err
		}
		if follows == nil {
			c.stranger = f
		} else {
			c.followers = append(c.followers, f)
		}
	}
	session, err := signUp("archivist")
	if err != nil {
		return nil, err
	}
	c.worker = &worker{visitors: c.visitors, session: session, ended: map[string]string{}}
	if session, err = signUp("uploader"); err != nil {
		return nil, err
	}
	c.uploader = &uploader{visitors: c.visitors, session: session}
	return c, nil
}

// begin has everybody do what they do, until finish.
func (c *crowd) begin(ctx context.Context) {
	ctx, c.end = context.WithCancel(ctx)
	stopping, stop := context.WithCancel(ctx)
	c.stop = stop
	for _, p := range c.publishers {
		c.working.Go(func() { c.note(p.run(ctx, stopping)) })
	}
	for _, f := range append(slices.Clone(c.followers), c.stranger) {
		c.hearing.Go(func() { c.note(f.run(ctx)) })
	}
	c.working.Go(func() { c.note(c.worker.run(ctx, stopping)) })
	c.working.Go(func() { c.note(c.uploader.run(ctx, stopping)) })
	for _, path := range []string{"/", "/talks", "/channels/looms", "/channels"} {
		c.working.Go(func() {
			for stopping.Err() == nil {
				_, _ = c.once(stopping, "", http.MethodGet, path, nil, nil) // it is counted
				pause(stopping, 50*time.Millisecond)
			}
		})
	}
}

func (c *crowd) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.trouble == nil {
		c.trouble = err
	}
}

// failed is what somebody could not do, whenever they tried; nil when all is well.
func (c *crowd) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.trouble
}

// finish has nobody begin anything new, waits until all that was begun has ended, and
// until everybody has heard what they were to hear, or it is too late for that.
func (c *crowd) finish(ctx context.Context) error {
	c.stop()
	ended := make(chan struct{})
	go func() {
		c.working.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		c.end()
		<-ended
	}
	for !c.allHeard() && ctx.Err() == nil {
		pause(ctx, 20*time.Millisecond)
	}
	return c.failed()
}

// leave has everybody go.
func (c *crowd) leave() {
	if c.end != nil {
		c.end()
		c.working.Wait()
		c.hearing.Wait()
	}
	c.http.CloseIdleConnections()
}

func (c *crowd) allHeard() bool {
	for _, f := range c.followers {
		want := 0
		for _, p := range c.publishers {
			if slices.Contains(f.channels, p.channel) {
				p.mu.Lock()
				want += len(p.acknowledged)
				p.mu.Unlock()
			}
		}
		if len(f.hears()) < want {
			return false
		}
	}
	return true
}

// kept says how what was promised was not kept; nil when it was.
func (c *crowd) kept(ctx context.Context) (broken []error) {
	say := func(format string, arguments ...any) { broken = append(broken, fmt.Errorf(format, arguments...)) }
	for _, f := range c.followers {
		stored, _, err := f.inbox(ctx)
		if err != nil {
			say("%s's inbox cannot be read: %w", f.name, err)
		}
		heard := f.hears()
		for _, p := range c.publishers {
			if !slices.Contains(f.channels, p.channel) {
				continue
			}
			for what, got := range map[string][]string{"heard": heard, "has in the inbox": stored} {
				if err := compare(p.acknowledged, p.tried, of(got, p.channel)); err != nil {
					say("%s, of what %s published, %s: %w", f.name, p.channel, what, err)
				}
			}
		}
		if foreign := slices.DeleteFunc(slices.Clone(heard), func(title string) bool {
			return slices.ContainsFunc(f.channels, func(channel string) bool { return strings.HasPrefix(title, channel+" ") })
		}); len(foreign) > 0 {
			say("%s heard what is not for them: %q", f.name, foreign)
		}
	}
	if heard := c.stranger.hears(); len(heard) > 0 {
		say("who follows nobody heard %q", heard)
	}
	for _, handle := range c.worker.accepted {
		if state := c.worker.ended[handle]; state != "STATE_SUCCEEDED" {
			say("%s, which was accepted, ended as %q", handle, state)
		}
		r, err := c.until(ctx, c.stranger.session, http.MethodGet, handle, http.Header{"Accept": {"application/json"}}, nil, http.StatusNotFound, http.StatusForbidden)
		if err != nil {
			say("%s, asked for by somebody else: %s, %w", handle, r, err)
		}
	}
	c.account.mu.Lock()
	defer c.account.mu.Unlock()
	for what, times := range c.account.rude {
		say("neither answered nor told when to come back, %d times: %s", times, what)
	}
	return broken
}

// of returns the titles of a channel's talks.
func of(titles []string, channel string) (own []string) {
	for _, title := range titles {
		if strings.HasPrefix(title, channel+" ") {
			own = append(own, title)
		}
	}
	return own
}

// compare says how what came differs from what was acknowledged: each once, in order. One
// that was tried and not acknowledged may have come.
func compare(acknowledged []string, tried string, came []string) error {
	if tried != "" && len(came) > 0 && came[len(came)-1] == tried {
		came = came[:len(came)-1]
	}
	if slices.Equal(acknowledged, came) {
		return nil
	}
	var lost, twice []string
	seen := map[string]int{}
	for _, title := range came {
		if seen[title]++; seen[title] == 2 {
			twice = append(twice, title)
		}
	}
	for _, title := range acknowledged {
		if seen[title] == 0 {
			lost = append(lost, title)
		}
	}
	if len(lost)+len(twice) > 0 {
		return fmt.Errorf("of %d acknowledged %d are lost %q, %d came twice %q", len(acknowledged), len(lost), lost[:min(len(lost), 5)], len(twice), twice[:min(len(twice), 5)])
	}
	for i, title := range came {
		if i >= len(acknowledged) || acknowledged[i] != title {
			return fmt.Errorf("out of order: %q came as number %d of %d", title, i+1, len(came))
		}
	}
	return errors.New("they differ")
}
