package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"
)

// Targets of an import.
const (
	importRate   = 2000 // talks a second
	importGrowth = 1.25 // memory ratio for a catalogue four times the size
)

// importResult is the result of an import.
type importResult struct {
	talks    int
	took     time.Duration
	talksctl float64 // peak memory in bytes
}

var added = regexp.MustCompile(`(\d+) channels and (\d+) talks added, (\d+) talks already present`)

// importCatalogue imports a catalogue with talksctl.
func (s *site) importCatalogue(ctx context.Context, catalogue string) (i importResult, err error) {
	command := exec.CommandContext(ctx, s.program("talksctl"), "import", "--logic-address", s.logic, "--certificates", s.certificates(), catalogue)
	began := time.Now()
	output, err := command.CombinedOutput()
	i.took = time.Since(began)
	counts := added.FindSubmatch(output)
	if err != nil || counts == nil {
		return i, fmt.Errorf("talksctl import: %w\n%s", err, output)
	}
	i.talks, err = strconv.Atoi(string(counts[2]))
	if usage, ok := command.ProcessState.SysUsage().(*syscall.Rusage); ok {
		i.talksctl = float64(usage.Maxrss) * 1024
	}
	return i, err
}

// measureImport imports the catalogue into empty sites, and then a generated one and another of four
// times its size.
func measureImport(ctx context.Context, b *bench) error {
	var rates, repeated []float64
	importInto := func(name, catalogue string) (logicTier, client float64, err error) {
		s, _, err := b.start(ctx, filepath.Join(b.folder, name))
		if err != nil {
			return 0, 0, err
		}
		defer func() {
			if stopErr := s.stop(); err == nil {
				err = stopErr
			}
		}()
		first, err := s.importCatalogue(ctx, catalogue)
		if err != nil {
			return 0, 0, err
		}
		rates = append(rates, float64(first.talks)/first.took.Seconds())
		logicTier = peakMemory(s.pids("logic-tier"))
		second, err := s.importCatalogue(ctx, catalogue)
		if err == nil && second.talks != 0 {
			err = fmt.Errorf("the second import added %d talks", second.talks)
		}
		repeated = append(repeated, float64(first.talks)/second.took.Seconds())
		return logicTier, first.talksctl, err
	}
	for i := range b.runs {
		if _, _, err := importInto(fmt.Sprint("import-", i), b.catalogue); err != nil {
			return err
		}
	}
	importRates, repeatRates := rates, repeated
	rates, repeated = nil, nil
	// Compare generated catalogues, whatever the given one is.
	var logic, talksctl [2]float64
	for i, times := range []int{1, 4} {
		generated := filepath.Join(b.folder, fmt.Sprint("catalogue-", times))
		err := generateCatalogue(generated, times*b.size(generatedTalks, 500))
		if err == nil {
			logic[i], talksctl[i], err = importInto(fmt.Sprint("import-generated-", times), generated)
		}
		if err != nil {
			return err
		}
	}
	growth := func(label string, peaks [2]float64) row {
		ratio := peaks[1] / peaks[0]
		return row{label: "peak memory, " + label, ours: megabytes(peaks[0]), baseline: megabytes(peaks[1]), ratio: fmt.Sprintf("%.2f", ratio),
			target: fmt.Sprintf("at most %.2f", importGrowth), met: ratio <= importGrowth}
	}
	b.table("import", "four times the size",
		row{label: "talks a second", ours: spread(importRates, "%.0f"), baseline: fmt.Sprintf("%.0f", rates[1]),
			target: fmt.Sprintf("at least %d", importRate), met: median(importRates) >= importRate},
		row{label: "talks a second, all existing", ours: spread(repeatRates, "%.0f"), baseline: fmt.Sprintf("%.0f", repeated[1])},
		growth("logic tier", logic), growth("talksctl", talksctl))
	return nil
}
