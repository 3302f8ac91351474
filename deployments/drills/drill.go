package drills

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"techtalks.example/deployments/drills/lab"
)

const (
	// drillTime bounds a drill.
	drillTime = 5 * time.Minute
	// before is how many talks each channel has published, and everybody heard, before
	// anything is done, and again afterwards.
	before = 10
)

// Drill is something that goes wrong, and what must hold all the same.
type Drill struct {
	// Name is what it is called on the command line.
	Name string
	// Question is the what-if that it answers.
	Question string
	// Shape is how many of each tier there are.
	Shape Shape
	// Do does it, and undoes it.
	Do func(context.Context, *Run) error
	// Unnoticed says that nobody may notice anything. It is carried out with no other
	// beside it, since a host that is starved looks like one that is away, and on hosts
	// that are Namespaces: a container takes longer to be replaced than a call is made
	// again.
	Unnoticed bool
	// Holds is checked in the end beside what is promised always; nil for nothing.
	Holds func(*Run) error
}

// Promise is what holds whatever happens.
const Promise = `every talk that was acknowledged reaches every follower once, in the order of its channel;
every operation that was accepted ends; every upload is whole; nobody sees what is not theirs;
the site answers, or says when to come back`

// Run is a drill under way.
type Run struct {
	*Site
	*crowd

	brief    bool
	began    time.Time
	healed   time.Time
	recovery <-chan time.Time
	done     []string
	dataAway time.Duration // in a planned restart or takeover
}

// Did notes what was done.
func (r *Run) Did(format string, arguments ...any) {
	r.done = append(r.done, fmt.Sprintf("%6.1f s  ", time.Since(r.began).Seconds())+fmt.Sprintf(format, arguments...))
}

// Healed notes that from now on all could be as before.
func (r *Run) Healed(format string, arguments ...any) {
	r.healed = time.Now()
	r.recovery = r.account.awaitGood()
	r.Did(format, arguments...)
}

// long is how long something lasts that is told to last so long.
func (r *Run) long(told time.Duration) time.Duration {
	if r.brief {
		return min(told, 5*time.Second)
	}
	return told
}

// Result is what came of a drill.
type Result struct {
	Drill    Drill
	Hosts    lab.Kind
	Done     []string
	Seen     string
	Recovery time.Duration // from healed to the first good answer
	Broken   []error       // promises
}

// Place is where a drill is carried out.
type Place struct {
	Hosts    lab.Kind
	Folder   string // for the site's files
	Programs string // that Programs has built
	// Brief has what lasts half a minute or longer last five seconds.
	Brief bool
}

// Run carries a drill out on a site of its own.
func (d Drill) Run(ctx context.Context, at Place) (result Result, err error) {
	ctx, done := context.WithTimeout(ctx, drillTime)
	defer done()
	result.Drill = d
	if d.Unnoticed {
		at.Hosts = lab.Namespaces
	}
	result.Hosts = at.Hosts
	site, err := NewSite(ctx, at, d.Shape)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	people, err := gather(ctx, site.Addresses())
	if err != nil {
		return result, fmt.Errorf("people come: %w\n%s", err, site.ends())
	}
	defer people.leave()
	run := &Run{Site: site, crowd: people, brief: at.Brief, began: time.Now()}
	people.begin(ctx)
	if err := run.all(ctx, before); err != nil {
		return result, fmt.Errorf("before anything is done: %w\n%s", err, site.ends())
	}
	if err := d.Do(ctx, run); err != nil {
		return result, fmt.Errorf("%w\n%s\n%s", err, strings.Join(run.done, "\n"), site.ends())
	}
	if run.recovery != nil {
		select {
		case at := <-run.recovery:
			result.Recovery = at.Sub(run.healed)
		case <-ctx.Done():
			result.Broken = append(result.Broken, errors.New("it never answers again"))
		}
	}
	ending, enough := context.WithTimeout(ctx, patience)
	defer enough()
	if err := run.more(ending, before); err != nil {
		result.Broken = append(result.Broken, fmt.Errorf("afterwards: %w", err))
	}
	if err := people.finish(ending); err != nil {
		result.Broken = append(result.Broken, err)
	}
	result.Broken = append(result.Broken, people.kept(ctx)...)
	if d.Holds != nil {
		if err := d.Holds(run); err != nil {
			result.Broken = append(result.Broken, err)
		}
	}
	result.Done, result.Seen = run.done, people.seen()
	if len(result.Broken) > 0 {
		result.Broken = append(result.Broken, errors.New(site.ends()))
	}
	return result, nil
}

// all waits until each channel has published so many talks and everybody heard them.
func (r *Run) all(ctx context.Context, n int) error {
	return r.await(ctx, n, func() bool {
		for _, f := range r.followers {
			if len(f.hears()) < n*len(f.channels) {
				return false
			}
		}
		return true
	})
}

// await waits until each channel has published so many talks, and something else.
func (r *Run) await(ctx context.Context, n int, is func() bool) error {
	ctx, done := context.WithTimeout(ctx, patience)
	defer done()
	for ; ; pause(ctx, 20*time.Millisecond) {
		least := -1
		for _, p := range r.publishers {
			p.mu.Lock()
			if have := len(p.acknowledged); least < 0 || have < least {
				least = have
			}
			p.mu.Unlock()
		}
		if least >= n && is() {
			return nil
		}
		if err := r.failed(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("a channel has published %d talks, %d are waited for: %s", least, n, r.seen())
		}
	}
}

// more waits until each channel has published so many talks more, and everybody heard.
func (r *Run) more(ctx context.Context, n int) error { return r.all(ctx, r.most()+n) }

// published waits until each channel has published so many talks more.
func (r *Run) published(ctx context.Context, n int) error {
	return r.await(ctx, r.most()+n, func() bool { return true })
}

// most is how many talks the busier channel has published.
func (r *Run) most() (most int) {
	for _, p := range r.publishers {
		p.mu.Lock()
		most = max(most, len(p.acknowledged))
		p.mu.Unlock()
	}
	return most
}

// seen says what came of everything so far.
func (c *crowd) seen() string {
	var b strings.Builder
	c.account.mu.Lock()
	fmt.Fprintf(&b, "%d requests answered, %d with a page as it had been, %d told when to come back, %d found no web tier", c.account.answered, c.account.stale, sum(c.account.sentAway), c.account.unanswered)
	c.account.mu.Unlock()
	published := 0
	for _, p := range c.publishers {
		p.mu.Lock()
		published += len(p.acknowledged)
		p.mu.Unlock()
	}
	heard, streams, resets := 0, 0, 0
	for _, f := range c.followers {
		f.mu.Lock()
		heard, streams, resets = heard+len(f.heard), streams+f.streams, resets+f.resets
		f.mu.Unlock()
	}
	c.worker.mu.Lock()
	archives := len(c.worker.ended)
	c.worker.mu.Unlock()
	c.uploader.mu.Lock()
	uploads := c.uploader.whole
	c.uploader.mu.Unlock()
	fmt.Fprintf(&b, "; %d talks acknowledged, %d notifications heard over %d streams; %d archives made, %d uploads whole", published, heard, streams, archives, uploads)
	if resets > 0 {
		fmt.Fprintf(&b, "; %d followers were told to begin anew", resets)
	}
	return b.String()
}

// ends are the last lines of what each process says.
func (s *Site) ends() string {
	var b strings.Builder
	for _, p := range append([]*lab.Process{s.Standby, s.Broker}, s.tiers()...) {
		if p != nil {
			fmt.Fprintf(&b, "-- %s on %s\n%s\n", p.Name, p.Host.Name, p.End(12))
		}
	}
	return b.String()
}

// Print prints what was promised, what was done, and what was seen.
func (r Result) Print(to io.Writer) {
	fmt.Fprintf(to, "\n%s: %s\n", r.Drill.Name, r.Drill.Question)
	fmt.Fprintf(to, "  promised: %s\n", strings.ReplaceAll(Promise, "\n", "\n            "))
	for i, line := range r.Done {
		fmt.Fprintf(to, "  %-9s %s\n", map[bool]string{true: "done:"}[i == 0], line)
	}
	fmt.Fprintf(to, "  seen:     %s\n", r.Seen)
	if r.Recovery > 0 {
		fmt.Fprintf(to, "            the first good answer %d ms after it was healed\n", r.Recovery.Milliseconds())
	}
	for _, err := range r.Broken {
		fmt.Fprintf(to, "  BROKEN:   %v\n", err)
	}
	if len(r.Broken) == 0 {
		fmt.Fprintln(to, "  kept")
	}
}

// Folder makes a folder that Postgres, which does not run as root, may enter.
func Folder() (string, error) {
	made, err := os.MkdirTemp("", "techtalks-drill-")
	if err != nil {
		return "", err
	}
	return made, os.Chmod(made, 0o755)
}
