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
	// drillTimeout bounds a drill.
	drillTimeout = 5 * time.Minute
	// phaseTalks is how many talks each channel publishes, and all followers receive,
	// before the failure and again after it.
	phaseTalks = 10
)

// Drill is a failure, and what must hold in spite of it.
type Drill struct {
	// Name identifies the drill on the command line.
	Name string
	// Question is the what-if question that the drill answers.
	Question string
	// Shape is the number of instances of each tier.
	Shape Shape
	// Inject causes the failure and ends it.
	Inject func(context.Context, *Run) error
	// Seamless is set if clients must not notice the failure. Such a drill runs alone, since
	// a starved host looks like a failed one, and on Namespaces, since replacing a container
	// takes longer than calls are retried.
	Seamless bool
	// Check checks what this drill guarantees beyond Guarantees; nil for nothing.
	Check func(*Run) error
}

// Guarantees are what each drill checks.
const Guarantees = `every acknowledged talk reaches every follower once, in the order of its channel;
every accepted operation finishes, and every upload is complete; no account sees what belongs to another;
the site answers, or says when to try again`

// Run is a drill in progress.
type Run struct {
	*Site
	*workload

	brief        bool
	began        time.Time
	recovered    time.Time
	firstSuccess <-chan time.Time
	log          []string
	dataDowntime time.Duration // during a planned restart or failover
}

// Log records a step with the time since the drill began.
func (r *Run) Log(format string, arguments ...any) {
	r.log = append(r.log, fmt.Sprintf("%6.1f s  ", time.Since(r.began).Seconds())+fmt.Sprintf(format, arguments...))
}

// Recovered records the end of the failure and starts to measure the recovery time.
func (r *Run) Recovered(format string, arguments ...any) {
	r.recovered = time.Now()
	r.firstSuccess = r.tally.awaitSuccess()
	r.Log(format, arguments...)
}

// shorten returns d, or at most 5 s in a brief run.
func (r *Run) shorten(d time.Duration) time.Duration {
	if r.brief {
		return min(d, 5*time.Second)
	}
	return d
}

// Result is the outcome of a drill.
type Result struct {
	Drill      Drill
	Hosts      lab.Kind
	Log        []string
	Summary    string
	Recovery   time.Duration // from the end of the failure to the first successful response
	Violations []error       // of the guarantees
}

// Config is where and how a drill runs.
type Config struct {
	Hosts    lab.Kind
	Folder   string // for the site's files
	Programs string // the folder that BuildPrograms has filled
	// Brief shortens failures that last half a minute or more to five seconds.
	Brief bool
}

// Run runs the drill on a new site.
func (d Drill) Run(ctx context.Context, config Config) (result Result, err error) {
	ctx, done := context.WithTimeout(ctx, drillTimeout)
	defer done()
	result.Drill = d
	if d.Seamless {
		config.Hosts = lab.Namespaces
	}
	result.Hosts = config.Hosts
	site, err := NewSite(ctx, config, d.Shape)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	load, err := newWorkload(ctx, site.Addresses())
	if err != nil {
		return result, fmt.Errorf("create the accounts: %w\n%s", err, site.logTails())
	}
	defer load.close()
	run := &Run{Site: site, workload: load, brief: config.Brief, began: time.Now()}
	load.start(ctx)
	if err := run.awaitReceived(ctx, phaseTalks); err != nil {
		return result, fmt.Errorf("before the failure: %w\n%s", err, site.logTails())
	}
	if err := d.Inject(ctx, run); err != nil {
		return result, fmt.Errorf("%w\n%s\n%s", err, strings.Join(run.log, "\n"), site.logTails())
	}
	if run.firstSuccess != nil {
		select {
		case at := <-run.firstSuccess:
			result.Recovery = at.Sub(run.recovered)
		case <-ctx.Done():
			result.Violations = append(result.Violations, errors.New("no successful response after the failure"))
		}
	}
	finishCtx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	if err := run.awaitMore(finishCtx, phaseTalks); err != nil {
		result.Violations = append(result.Violations, fmt.Errorf("after the failure: %w", err))
	}
	if err := load.finish(finishCtx); err != nil {
		result.Violations = append(result.Violations, err)
	}
	result.Violations = append(result.Violations, load.violations(ctx)...)
	if d.Check != nil {
		if err := d.Check(run); err != nil {
			result.Violations = append(result.Violations, err)
		}
	}
	result.Log, result.Summary = run.log, load.summary()
	if len(result.Violations) > 0 {
		result.Violations = append(result.Violations, errors.New(site.logTails()))
	}
	return result, nil
}

// awaitReceived waits until each channel has published n talks and all followers have
// received them.
func (r *Run) awaitReceived(ctx context.Context, n int) error {
	return r.awaitTalks(ctx, n, func() bool {
		for _, f := range r.followers {
			if len(f.received()) < n*len(f.channels) {
				return false
			}
		}
		return true
	})
}

// awaitTalks waits until each channel has published n talks and a condition is true.
func (r *Run) awaitTalks(ctx context.Context, n int, condition func() bool) error {
	ctx, done := context.WithTimeout(ctx, waitTimeout)
	defer done()
	for ; ; pause(ctx, 20*time.Millisecond) {
		published := -1 // by the channel with the fewest talks
		for _, p := range r.publishers {
			p.mu.Lock()
			if count := len(p.acknowledged); published < 0 || count < published {
				published = count
			}
			p.mu.Unlock()
		}
		if published >= n && condition() {
			return nil
		}
		if err := r.err(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("a channel has published %d of %d talks: %s", published, n, r.summary())
		}
	}
}

// awaitMore waits until each channel has published n more talks and all followers have
// received them.
func (r *Run) awaitMore(ctx context.Context, n int) error {
	return r.awaitReceived(ctx, r.maxPublished()+n)
}

// awaitPublished waits until each channel has published n more talks.
func (r *Run) awaitPublished(ctx context.Context, n int) error {
	return r.awaitTalks(ctx, r.maxPublished()+n, func() bool { return true })
}

// maxPublished returns the number of talks of the channel that has published the most.
func (r *Run) maxPublished() (n int) {
	for _, p := range r.publishers {
		p.mu.Lock()
		n = max(n, len(p.acknowledged))
		p.mu.Unlock()
	}
	return n
}

// summary describes the outcome of all requests so far.
func (w *workload) summary() string {
	var b strings.Builder
	w.tally.mu.Lock()
	fmt.Fprintf(&b, "%d requests answered, %d served stale, %d rejected with Retry-After, %d found no web tier", w.tally.answered, w.tally.stale, sum(w.tally.rejected), w.tally.unreachable)
	w.tally.mu.Unlock()
	published := 0
	for _, p := range w.publishers {
		p.mu.Lock()
		published += len(p.acknowledged)
		p.mu.Unlock()
	}
	received, streams, resets := 0, 0, 0
	for _, f := range w.followers {
		f.mu.Lock()
		received, streams, resets = received+len(f.titles), streams+f.streams, resets+f.resets
		f.mu.Unlock()
	}
	w.exporter.mu.Lock()
	exports := len(w.exporter.states)
	w.exporter.mu.Unlock()
	w.uploader.mu.Lock()
	uploads := w.uploader.completed
	w.uploader.mu.Unlock()
	fmt.Fprintf(&b, "; %d talks acknowledged, %d notifications received over %d streams; %d exports finished, %d uploads completed", published, received, streams, exports, uploads)
	if resets > 0 {
		fmt.Fprintf(&b, "; %d followers were reset", resets)
	}
	return b.String()
}

// logTails returns the last lines of each process's log.
func (s *Site) logTails() string {
	var b strings.Builder
	for _, p := range append([]*lab.Process{s.Standby, s.Broker}, s.tiers()...) {
		if p != nil {
			fmt.Fprintf(&b, "-- %s on %s\n%s\n", p.Name, p.Host.Name, p.LogTail(12))
		}
	}
	return b.String()
}

// Print prints the guarantees, the log, the summary and the violations.
func (r Result) Print(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s\n", r.Drill.Name, r.Drill.Question)
	fmt.Fprintf(w, "  guarantees: %s\n", strings.ReplaceAll(Guarantees, "\n", "\n              "))
	for i, line := range r.Log {
		fmt.Fprintf(w, "  %-11s %s\n", map[bool]string{true: "log:"}[i == 0], line)
	}
	fmt.Fprintf(w, "  summary:    %s\n", r.Summary)
	if r.Recovery > 0 {
		fmt.Fprintf(w, "              first successful response %d ms after the failure\n", r.Recovery.Milliseconds())
	}
	for _, err := range r.Violations {
		fmt.Fprintf(w, "  VIOLATED:   %v\n", err)
	}
	if len(r.Violations) == 0 {
		fmt.Fprintln(w, "  guarantees kept")
	}
}

// TempFolder creates a folder that Postgres, which does not run as root, can enter.
func TempFolder() (string, error) {
	folder, err := os.MkdirTemp("", "techtalks-drill-")
	if err != nil {
		return "", err
	}
	return folder, os.Chmod(folder, 0o755)
}
