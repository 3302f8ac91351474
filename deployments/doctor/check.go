package main

import (
	"context"
	"slices"
	"sync"
	"time"
)

// check looks at one thing, or at several of which one needs the other.
type check func(ctx context.Context) []finding

// said is a check that knows what it finds.
func said(all ...finding) check { return func(context.Context) []finding { return all } }

// sideBySide makes checks at the same time, and returns what they found in their order.
func sideBySide(ctx context.Context, checks ...check) []finding {
	found := make([][]finding, len(checks))
	var looking sync.WaitGroup
	for i, look := range checks {
		looking.Go(func() { found[i] = look(ctx) })
	}
	looking.Wait()
	return slices.Concat(found...)
}

// grace is how long a look whose deadline is over may take to say so in its own words.
const grace = time.Second

// within bounds one look: one that does not end by itself is not waited for.
func within(deadline time.Duration, about string, look func(ctx context.Context) finding) check {
	return func(ctx context.Context) []finding {
		ctx, done := context.WithTimeout(ctx, deadline)
		defer done()
		answer := make(chan finding, 1)
		go func() { answer <- look(ctx) }()
		select {
		case f := <-answer:
			f.About = about
			return []finding{f}
		case <-time.After(deadline + grace):
			return []finding{{wrong, about, "nothing came of it in " + deadline.String(), "see whether that host is overloaded or cut off; give it longer with DEADLINE"}}
		}
	}
}
