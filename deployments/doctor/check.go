package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// check checks one thing, or several that depend on each other.
type check func(ctx context.Context) []finding

// report returns a check with known findings.
func report(findings ...finding) check {
	return func(context.Context) []finding { return findings }
}

// runParallel runs checks concurrently and returns their findings in the order of the checks.
func runParallel(ctx context.Context, checks ...check) []finding {
	findings := make([][]finding, len(checks))
	var group sync.WaitGroup
	for i, run := range checks {
		group.Go(func() { findings[i] = run(ctx) })
	}
	group.Wait()
	return slices.Concat(findings...)
}

// grace is the time after the deadline in which a check can still return its own finding.
const grace = time.Second

// withDeadline returns a check that runs a function with a deadline, and gives up on a function
// that ignores it.
func withDeadline(deadline time.Duration, about string, run func(ctx context.Context) finding) check {
	return func(ctx context.Context) []finding {
		ctx, done := context.WithTimeout(ctx, deadline)
		defer done()
		result := make(chan finding, 1)
		go func() { result <- run(ctx) }()
		select {
		case f := <-result:
			f.About = about
			return []finding{f}
		case <-time.After(deadline + grace):
			return []finding{{verdictWrong, about, "no result within " + deadline.String(), "check whether that host is overloaded or unreachable; raise DEADLINE"}}
		}
	}
}
