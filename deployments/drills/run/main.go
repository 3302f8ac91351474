// Command run carries drills out: each starts the tiers on hosts of its own, has people
// use them, does what its name says, and says whether what was promised was kept.
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
	only := flag.String("only", "", "names of drills, separated by commas; empty: all")
	times := flag.Int("times", 1, "how often each")
	together := flag.Int("together", 1, "how many at the same time: each has hosts of its own, and they share the cores")
	hosts := flag.String("hosts", "", `what hosts are: "containers" or "namespaces"; empty: containers where a Docker engine answers`)
	results := flag.String("results", "", "Markdown file whose table of what was seen is brought up to date")
	list := flag.Bool("list", false, "list the drills and do nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if *list {
		for _, d := range drills.All {
			fmt.Printf("%-20s %s\n", d.Name, d.Question)
		}
		return
	}
	if err := run(ctx, lab.Kind(*hosts), *only, *times, max(1, *together), *results); err != nil {
		fmt.Fprintln(os.Stderr, "drill:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, kind lab.Kind, only string, times, together int, results string) error {
	chosen, err := choose(only)
	if err != nil {
		return err
	}
	if kind == "" {
		var why error
		if kind, why = lab.Best(); why != nil {
			fmt.Printf("hosts are %s, for containers something is missing: %v\n", kind, why)
		}
	}
	programs, err := drills.Folder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(programs)
	if err := drills.Programs(ctx, programs); err != nil {
		return err
	}
	var mu sync.Mutex      // of what is seen and said, and of the file
	var alone sync.RWMutex // taken by a drill that bears no other beside it
	broken := false
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for _, d := range chosen {
		s := series{drill: d}
		for range times {
			group.Go(func() error {
				result, err := beside(ctx, &alone, kind, d, programs)
				if err := errors.Join(err, ctx.Err()); err != nil { // broken off, it says nothing
					return fmt.Errorf("%s: %w", d.Name, err)
				}
				mu.Lock()
				defer mu.Unlock()
				result.Print(os.Stdout)
				broken = broken || len(result.Broken) > 0
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
	if broken {
		return errors.New("what was promised was not kept")
	}
	return nil
}

// beside carries a drill out beside others, or alone.
func beside(ctx context.Context, alone *sync.RWMutex, kind lab.Kind, d drills.Drill, programs string) (drills.Result, error) {
	if d.Unnoticed {
		alone.Lock()
		defer alone.Unlock()
	} else {
		alone.RLock()
		defer alone.RUnlock()
	}
	return once(ctx, kind, d, programs)
}

func choose(only string) ([]drills.Drill, error) {
	if only == "" {
		return drills.All, nil
	}
	var chosen []drills.Drill
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(drills.All, func(d drills.Drill) bool { return d.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no drill %q; -list lists them", name)
		}
		chosen = append(chosen, drills.All[i])
	}
	return chosen, nil
}

func once(ctx context.Context, kind lab.Kind, d drills.Drill, programs string) (drills.Result, error) {
	folder, err := drills.Folder()
	if err != nil {
		return drills.Result{}, err
	}
	defer os.RemoveAll(folder)
	return d.Run(ctx, drills.Place{Hosts: kind, Folder: folder, Programs: programs})
}

// series is a drill, carried out several times.
type series struct {
	drill   drills.Drill
	results []drills.Result
}

// kept is how often what was promised was kept.
func (s series) kept() (n int) {
	for _, r := range s.results {
		if len(r.Broken) == 0 {
			n++
		}
	}
	return n
}

// recovery returns the median and the longest time from healed to the first good answer.
func (s series) recovery() (median, longest time.Duration) {
	var all []time.Duration
	for _, r := range s.results {
		all = append(all, r.Recovery)
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)-1]
}

func (s series) String() string {
	median, longest := s.recovery()
	return fmt.Sprintf("\n%s: kept %d of %d times; the first good answer after %d ms, at most %d", s.drill.Name, s.kept(), len(s.results), median.Milliseconds(), longest.Milliseconds())
}

// row is the series in the table of what was seen.
func (s series) row() string {
	median, longest := s.recovery()
	recovery := "never away"
	if longest > 0 {
		recovery = fmt.Sprintf("%d ms, %d ms", median.Milliseconds(), longest.Milliseconds())
	}
	last := s.results[len(s.results)-1]
	return fmt.Sprintf("| `%s` | %s | %d of %d | %s | %s | %s | %s |\n", s.drill.Name, strings.TrimPrefix(s.drill.Question, "What if "), s.kept(), len(s.results), recovery,
		time.Now().UTC().Format(time.DateOnly), last.Hosts, last.Seen)
}

// update puts a series into the table of what was seen; the rows of other drills stay as
// they are.
func update(file string, of series) error {
	before, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	rows := map[string]string{of.drill.Name: of.row()}
	for line := range strings.Lines(string(before)) {
		name, _, _ := strings.Cut(strings.TrimPrefix(line, "| `"), "`")
		if _, is := rows[name]; !is {
			rows[name] = line
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Drills, as they last went\n\nWritten by `make drill` and `make soak`. What is promised whatever happens:\n\n> %s\n\n", strings.ReplaceAll(drills.Promise, "\n", "\n> "))
	fmt.Fprintf(&b, "| drill | what if … | kept | first good answer, median and longest | when | hosts | seen the last time |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, d := range drills.All {
		b.WriteString(rows[d.Name])
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}
