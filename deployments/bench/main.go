// Command bench measures TechTalks against the plainest thing that does the
// same, side by side on this machine, and prints tables of ratios: absolute
// numbers drift with the machine, ratios hold. It starts a site of its own and
// leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// timeout bounds everything together.
const timeout = 2 * time.Hour

// options say what to measure, and how thoroughly.
type options struct {
	only      string
	runs      int
	quick     bool
	catalogue string
}

// measurements in their order: later ones need the catalogue that "start" and
// "import" bring in.
var measurements = []struct {
	name, about string
	run         func(context.Context, *bench) error
}{
	{"start", "make up, and what a site takes at rest", measureStart},
	{"import", "a catalogue through talksctl", measureImport},
	{"page", "a channel page over three processes, and collapsed into one", measurePage},
	{"overload", "three times what the site can answer", measureOverload},
	{"scaling", "two replicas of a tier, and one", measureScaling},
	{"search", "a search, and its SQL alone", measureSearch},
	{"fanout", "a talk into the inboxes of many followers", measureFanOut},
	{"live", "a talk to many browsers, and a plain loop", measureLive},
	{"waits", "an operation, waited for in four ways", measureWaits},
	{"queue-idle", "what a logic tier with nothing to do asks", measureIdle},
	{"queue", "messages in Postgres, and in its peers", measureQueue},
	{"queue-steady", "messages in Postgres for minutes, at a pace", measureSteady},
	{"queue-spike", "many messages in one second, and requests meanwhile", measureSpike},
	{"rabbitmq", "messages in RabbitMQ, and through a bare client", measureRabbitMQ},
	{"bytes", "a file in and out, and over one connection", measureBytes},
}

func main() {
	var o options
	var names []string
	for _, m := range measurements {
		names = append(names, m.name)
	}
	flag.StringVar(&o.only, "only", "", "measure only these, separated by commas: "+strings.Join(names, ", "))
	flag.IntVar(&o.runs, "runs", 5, "runs of which the median counts")
	flag.BoolVar(&o.quick, "quick", false, "small sizes and one run: shows that it works, and nothing else")
	flag.StringVar(&o.catalogue, "catalogue", "", "a real catalogue in the layout of pyvideo (folder or .tar.xz) in the place of a made one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, done := context.WithTimeout(ctx, timeout)
	defer done()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.quick {
		o.runs = 1
	}
	chosen := map[string]bool{}
	for name := range strings.SplitSeq(o.only, ",") {
		if name = strings.TrimSpace(name); name != "" {
			chosen[name] = true
		}
	}
	for name := range chosen {
		known := false
		for _, m := range measurements {
			known = known || m.name == name
		}
		if !known {
			return fmt.Errorf("-only %s: there is no such measurement; see -help", name)
		}
	}
	b, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	fmt.Println(machine())
	for _, m := range measurements {
		if len(chosen) > 0 && !chosen[m.name] {
			continue
		}
		fmt.Printf("\n%s: %s\n", m.name, m.about)
		if err := m.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	fmt.Println()
	b.verdict()
	return nil
}

// bench is one run of this program.
type bench struct {
	options
	root   string // of the source tree
	folder string // for everything made here
	site   *site  // the one that is measured, once there is one
	missed []string
}

func newBench(ctx context.Context, o options) (*bench, error) {
	b := &bench{options: o}
	var err error
	if b.root, err = sourceTree(); err != nil {
		return nil, err
	}
	if b.folder, err = os.MkdirTemp("", "techtalks-bench-"); err != nil {
		return nil, err
	}
	// Postgres, which does not run as root, must get to its data.
	if err := os.Chmod(b.folder, 0o755); err != nil {
		return nil, errors.Join(err, b.close())
	}
	for name, folder := range map[string]string{"local": "deployments/local", "collapsed": "deployments/bench/collapsed", "plainloop": "deployments/bench/plainloop"} {
		if err := build(ctx, filepath.Join(b.root, folder), b.program(name)); err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	if b.catalogue, err = b.openCatalogue(); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) program(name string) string { return filepath.Join(b.folder, "bin", name) }

func (b *bench) close() error {
	var err error
	if b.site != nil {
		err = b.site.stop()
	}
	return errors.Join(err, os.RemoveAll(b.folder))
}

// size is how many of something there are, fewer when it need only be shown to
// work.
func (b *bench) size(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// sourceTree returns the folder above this one that holds go.work.
func sourceTree() (string, error) {
	folder, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(folder, "go.work")); missing == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			err = errors.New("run it inside the source tree: there is no go.work here or above")
		}
		folder = filepath.Dir(folder)
	}
	return "", err
}
