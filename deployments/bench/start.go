package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// measureStart starts sites from nothing, and the last of them again.
func measureStart(ctx context.Context, b *bench) error {
	var first, again []float64
	tiers := []string{"web-tier", "logic-tier", "data-tier"}
	rest := map[string][]float64{}
	for i := range b.runs {
		run := filepath.Join(b.folder, fmt.Sprint("start-", i))
		s, took, err := b.start(ctx, run)
		if err != nil {
			return err
		}
		first = append(first, took.Seconds())
		for _, tier := range tiers {
			rest[tier] = append(rest[tier], share(s.pids(tier)))
		}
		if err := s.stop(); err != nil {
			return err
		}
		if s, took, err = b.start(ctx, run); err != nil {
			return err
		}
		again = append(again, took.Seconds())
		if err := s.stop(); err != nil {
			return err
		}
	}
	rows := []row{
		{what: "to the first page, from a built tree, no data yet", ours: spread(first, "%.1f s")},
		{what: "to the first page, with the data there", ours: spread(again, "%.1f s")},
	}
	for _, tier := range tiers {
		rows = append(rows, row{what: "memory at rest, " + tier, ours: megabytes(median(rest[tier]))})
	}
	b.table("start", "", rows...)
	return nil
}
