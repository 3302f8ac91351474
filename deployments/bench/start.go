package main

import (
	"context"
	"fmt"
	"path/filepath"
)

// measureStart starts each site twice: without and with existing data.
func measureStart(ctx context.Context, b *bench) error {
	var first, again []float64
	tiers := []string{"web-tier", "logic-tier", "data-tier"}
	atRest := map[string][]float64{}
	for i := range b.runs {
		run := filepath.Join(b.folder, fmt.Sprint("start-", i))
		s, took, err := b.start(ctx, run)
		if err != nil {
			return err
		}
		first = append(first, took.Seconds())
		for _, tier := range tiers {
			atRest[tier] = append(atRest[tier], proportionalMemory(s.pids(tier)))
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
		{label: "first page, programs built, without data", ours: spread(first, "%.1f s")},
		{label: "first page, with existing data", ours: spread(again, "%.1f s")},
	}
	for _, tier := range tiers {
		rows = append(rows, row{label: "memory at rest, " + tier, ours: megabytes(median(atRest[tier]))})
	}
	b.table("start", "", rows...)
	return nil
}
