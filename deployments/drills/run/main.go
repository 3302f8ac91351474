// Command run runs drills: each starts the tiers on separate hosts, runs clients against them,
// injects a failure and reports whether the guarantees were kept.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"techtalks.example/deployments/drills"
	"techtalks.example/deployments/drills/lab"
)

func main() {
	only := flag.String("only", "", "names of drills, separated by commas; default all")
	times := flag.Int("times", 1, "number of runs of each drill")
	parallel := flag.Int("together", 1, "number of drills that run at the same time, on separate hosts and the same cores")
	hosts := flag.String("hosts", "", `kind of hosts, "containers" or "namespaces"; default containers if a Docker engine is available`)
	results := flag.String("results", "", "Markdown file whose table of results is updated")
	list := flag.Bool("list", false, "list the drills and exit")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if *list {
		for _, d := range drills.All {
			fmt.Printf("%-20s %s\n", d.Name, d.Question)
		}
		return
	}
	if err := run(ctx, lab.Kind(*hosts), *only, *times, max(1, *parallel), *results); err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kind lab.Kind, only string, times, parallel int, results string) error {
	selected, err := selectDrills(only)
	if err != nil {
		return err
	}
	if kind == "" {
		var missing error
		if kind, missing = lab.BestKind(); missing != nil {
			fmt.Printf("using %s as hosts; missing for containers: %v\n", kind, missing)
		}
	}
	programs, err := drills.TempFolder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	if err := drills.BuildPrograms(ctx, programs); err != nil {
		return err
	}
	var mu sync.Mutex          // guards results, output and the file
	var exclusive sync.RWMutex // locked by a drill that runs alone
	violated := false
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, d := range selected {
		s := series{drill: d}
		for range times {
			group.Go(func() error {
				result, err := runShared(ctx, &exclusive, kind, d, programs)
				if err := errors.Join(err, ctx.Err()); err != nil { // an interrupted drill has no result
					return fmt.Errorf("%s: %w", d.Name, err)
				}
				mu.Lock()
				defer mu.Unlock()
				result.Print(os.Stdout)
				violated = violated || len(result.Violations) > 0
				if s.results = append(s.results, result); len(s.results) < times {
					return nil
				}
				if times > 1 {
					fmt.Println(s)
				}
				if results == "" {
					return nil
				}
				return update(results, s)
			})
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if violated {
		return errors.New("guarantees were violated")
	}
	return nil
}

// runShared runs a drill at the same time as others, or alone if it is Seamless.
func runShared(ctx context.Context, exclusive *sync.RWMutex, kind lab.Kind, d drills.Drill, programs string) (drills.Result, error) {
	if d.Seamless {
		exclusive.Lock()
		defer exclusive.Unlock()
	} else {
		exclusive.RLock()
		defer exclusive.RUnlock()
	}
	return runOnce(ctx, kind, d, programs)
}

// selectDrills returns the drills with the given names, separated by commas.
func selectDrills(only string) ([]drills.Drill, error) {
	if only == "" {
		return drills.All, nil
	}
	var selected []drills.Drill
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(drills.All, func(d drills.Drill) bool { return d.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown drill %q; -list lists all", name)
		}
		selected = append(selected, drills.All[i])
	}
	return selected, nil
}

func runOnce(ctx context.Context, kind lab.Kind, d drills.Drill, programs string) (drills.Result, error) {
	folder, err := drills.TempFolder()
	if err != nil {
		return drills.Result{}, err
	}
	defer os.RemoveAll(folder)
	return d.Run(ctx, drills.Config{Hosts: kind, Folder: folder, Programs: programs})
}

// series is the results of several runs of a drill.
type series struct {
	drill   drills.Drill
	results []drills.Result
}

// kept returns the number of runs that kept the guarantees.
func (s series) kept() (n int) {
	for _, r := range s.results {
		if len(r.Violations) == 0 {
			n++
		}
	}
	return n
}

// recovery returns the median and the longest recovery time.
func (s series) recovery() (median, longest time.Duration) {
	var times []time.Duration
	for _, r := range s.results {
		times = append(times, r.Recovery)
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)-1]
}

func (s series) String() string {
	median, longest := s.recovery()
	return fmt.Sprintf("\n%s: guarantees kept in %d of %d runs; recovery after %d ms (median), %d ms (longest)", s.drill.Name, s.kept(), len(s.results), median.Milliseconds(), longest.Milliseconds())
}

// row returns the series as a row of the table of results.
func (s series) row() string {
	median, longest := s.recovery()
	recovery := "no outage"
	if longest > 0 {
		recovery = fmt.Sprintf("%d ms, %d ms", median.Milliseconds(), longest.Milliseconds())
	}
	last := s.results[len(s.results)-1]
	return fmt.Sprintf("| `%s` | %s | %d of %d | %s | %s | %s | %s |\n", s.drill.Name, strings.TrimPrefix(s.drill.Question, "What if "), s.kept(), len(s.results), recovery,
		time.Now().UTC().Format(time.DateOnly), last.Hosts, last.Summary)
}

// update writes a series into the table of results. The rows of other drills stay unchanged.
func update(file string, s series) error {
	content, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	rows := map[string]string{s.drill.Name: s.row()}
	for line := range strings.Lines(string(content)) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "| `"), "`")
		if _, ok := rows[name]; !ok {
			rows[name] = line
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Results of the drills\n\nWritten by `make drill` and `make soak`. Each drill checks these guarantees:\n\n> %s\n\n", strings.ReplaceAll(drills.Guarantees, "\n", "\n> "))
	fmt.Fprintf(&b, "Recovery is the time from the end of the failure to the first successful response.\n\n")
	fmt.Fprintf(&b, "| drill | what if … | guarantees kept | recovery, median and longest | date | hosts | last run |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, d := range drills.All {
		b.WriteString(rows[d.Name])
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
