// Command bench measures TechTalks against the simplest program that does the same, side by side
// on this machine, and prints tables of ratios: absolute numbers depend on the machine, ratios
// much less. It starts its own site and removes all its files.
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

// timeout bounds the whole run.
const timeout = 2 * time.Hour

// options selects the measurements and their sizes.
type options struct {
	only      string
	runs      int
	quick     bool
	catalogue string
}

// measurements are listed in run order.
var measurements = []struct {
	name, summary string
	run           func(context.Context, *bench) error
}{
	{"start", "start-up time, and memory at rest", measureStart},
	{"import", "import of a catalogue with talksctl", measureImport},
	{"page", "a channel page from three processes, against one process", measurePage},
	{"overload", "three times the load that the site can serve", measureOverload},
	{"scaling", "two replicas of a tier, against one", measureScaling},
	{"search", "a search, against its SQL alone", measureSearch},
	{"fanout", "delivery of a talk to the inboxes of many followers", measureFanOut},
	{"live", "live events to many browsers, against a plain loop", measureLive},
	{"waits", "following an operation in four ways", measureWaits},
	{"queue-idle", "queries of an idle logic tier", measureIdle},
	{"queue", "the queue in Postgres, against its peers", measureQueue},
	{"queue-steady", "the queue in Postgres at a steady rate for minutes", measureSteady},
	{"queue-spike", "page latency during a burst of messages", measureSpike},
	{"rabbitmq", "the queue in RabbitMQ, against a bare client", measureRabbitMQ},
	{"bytes", "upload and download of a file, against one connection", measureBytes},
}

func main() {
	var o options
	var names []string
	for _, m := range measurements {
		names = append(names, m.name)
	}
	flag.StringVar(&o.only, "only", "", "run only these measurements, separated by commas: "+strings.Join(names, ", "))
	flag.IntVar(&o.runs, "runs", 5, "number of runs; the tables report medians")
	flag.BoolVar(&o.quick, "quick", false, "smoke test: small sizes and one run, with meaningless figures")
	flag.StringVar(&o.catalogue, "catalogue", "", "real catalogue in the layout of pyvideo (folder or .tar.xz), instead of a generated one")
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
			return fmt.Errorf("-only %s: unknown measurement; see -help", name)
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
		fmt.Printf("\n%s: %s\n", m.name, m.summary)
		if err := m.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
	}
	fmt.Println()
	b.printSummary()
	return nil
}

// bench is one run of this program.
type bench struct {
	options
	root   string   // of the source tree
	folder string   // of all files of this run
	site   *site    // started on first use; see running
	missed []string // targets
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
	// Postgres, which does not run as root, needs access to its data.
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

// size returns the full size, or the quick one for a smoke test.
func (b *bench) size(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// sourceTree returns the root of the source tree: the folder with go.work.
func sourceTree() (string, error) {
	folder, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(folder, "go.work")); missing == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			err = errors.New("no go.work in this folder or above: run it inside the source tree")
		}
		folder = filepath.Dir(folder)
	}
	return "", err
}
