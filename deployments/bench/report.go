package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// row is a row of a table, formatted as text.
type row struct {
	label, ours, baseline, ratio string
	target                       string // empty: no target
	met                          bool
}

// table prints rows and records missed targets.
func (b *bench) table(name, baseline string, rows ...row) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "  \tTechTalks\t%s\tratio\ttarget\t\n", baseline)
	for _, r := range rows {
		verdict := ""
		if r.target != "" {
			verdict = "met"
			if !r.met {
				verdict = "MISSED"
				b.missed = append(b.missed, name+": "+r.label)
			}
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\n", r.label, r.ours, r.baseline, r.ratio, r.target, verdict)
	}
	_ = w.Flush()
}

func (b *bench) printSummary() {
	switch {
	case b.quick:
		fmt.Println("Smoke test passed. The sizes were too small for meaningful figures.")
	case len(b.missed) == 0:
		fmt.Println("All measured targets were met.")
	default:
		fmt.Println("Missed targets:", strings.Join(b.missed, "; "))
	}
}

// median returns the median of values, or 0 if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// percentile returns the pth percentile of values, or 0 if there are none.
func percentile(values []float64, p int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// compareRates compares rates, one value for each round, by the median of the rounds' ratios. The
// target is its minimum; 0 means none.
func compareRates(label string, ours, theirs []float64, target float64) row {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	r := row{label: label, ours: spread(ours, "%.0f"), baseline: spread(theirs, "%.0f"), ratio: fmt.Sprintf("%.2f", median(ratios))}
	if target > 0 {
		r.target, r.met = fmt.Sprintf("at least %.1f", target), median(ratios) >= target
	}
	return r
}

// spread formats the median, and the minimum and maximum if there are several values.
func spread(values []float64, format string) string {
	if len(values) < 2 {
		return fmt.Sprintf(format, median(values))
	}
	return fmt.Sprintf(format+" ("+format+" to "+format+")", median(values), slices.Min(values), slices.Max(values))
}

// machine describes the machine for the heading.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores (%s), %s; shared by the load, Postgres and all tiers", runtime.NumCPU(), model, runtime.Version())
}
