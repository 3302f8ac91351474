package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// row is a line of a table: what was measured, as text, and what it should be.
type row struct {
	what, ours, against, ratio string
	target                     string // empty: only printed
	met                        bool
}

// table prints rows and keeps which targets were missed.
func (b *bench) table(name, against string, rows ...row) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(w, "  \tTechTalks\t%s\tratio\ttarget\t\n", against)
	for _, r := range rows {
		verdict := ""
		if r.target != "" {
			verdict = "met"
			if !r.met {
				verdict = "MISSED"
				b.missed = append(b.missed, name+": "+r.what)
			}
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\n", r.what, r.ours, r.against, r.ratio, r.target, verdict)
	}
	_ = w.Flush()
}

func (b *bench) verdict() {
	switch {
	case b.quick:
		fmt.Println("It works. The numbers above are of sizes too small to mean anything.")
	case len(b.missed) == 0:
		fmt.Println("Every target that was measured is met.")
	default:
		fmt.Println("Missed:", strings.Join(b.missed, "; "))
	}
}

// median returns the middle value; the mean of the two middle ones.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// percentile returns the value that so many of 100 are not above.
func percentile(values []float64, of int) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, len(sorted)*of/100)]
}

// faster compares rates, a value a round each, by the median of the rounds' ratios,
// which is to be at least target; 0: only printed.
func faster(what string, ours, theirs []float64, target float64) row {
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	r := row{what: what, ours: spread(ours, "%.0f"), against: spread(theirs, "%.0f"), ratio: fmt.Sprintf("%.2f", median(ratios))}
	if target > 0 {
		r.target, r.met = fmt.Sprintf("at least %.1f", target), median(ratios) >= target
	}
	return r
}

// spread returns the lowest, the middle and the highest.
func spread(values []float64, format string) string {
	if len(values) < 2 {
		return fmt.Sprintf(format, median(values))
	}
	return fmt.Sprintf(format+" ("+format+" to "+format+")", median(values), slices.Min(values), slices.Max(values))
}

func machine() string {
	model := "an unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d cores of %s, %s; everything, the load too, on them", runtime.NumCPU(), model, runtime.Version())
}
