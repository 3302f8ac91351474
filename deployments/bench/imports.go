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
	importSpeed  = 2000 // talks a second
	importGrowth = 1.25 // of memory, for a catalogue of four times the size
)

// imported is what came of an import.
type imported struct {
	talks    int
	took     time.Duration
	talksctl float64 // bytes, at most
}

var added = regexp.MustCompile(`(\d+) channels and (\d+) talks added, (\d+) talks already present`)

// importCatalogue brings a catalogue in, as an operator does.
func (s *site) importCatalogue(ctx context.Context, catalogue string) (i imported, err error) {
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

// measureImport imports the catalogue into empty sites, and one of four times
// the size.
func measureImport(ctx context.Context, b *bench) error {
	var speed, again []float64
	one := func(name, catalogue string) (logicTier, client float64, err error) {
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
		speed = append(speed, float64(first.talks)/first.took.Seconds())
		logicTier = highest(s.pids("logic-tier"))
		second, err := s.importCatalogue(ctx, catalogue)
		if err == nil && second.talks != 0 {
			err = fmt.Errorf("the second time %d talks were added again", second.talks)
		}
		again = append(again, float64(first.talks)/second.took.Seconds())
		return logicTier, first.talksctl, err
	}
	for i := range b.runs {
		if _, _, err := one(fmt.Sprint("import-", i), b.catalogue); err != nil {
			return err
		}
	}
	small, smallAgain := speed, again
	speed, again = nil, nil
	// Of one kind, whatever the catalogue is: two folders, one four times the size.
	var logic, talksctl [2]float64
	for i, times := range []int{1, 4} {
		made := filepath.Join(b.folder, fmt.Sprint("catalogue-", times))
		err := makeCatalogue(made, times*b.size(madeTalks, 500))
		if err == nil {
			logic[i], talksctl[i], err = one(fmt.Sprint("import-made-", times), made)
		}
		if err != nil {
			return err
		}
	}
	growth := func(what string, most [2]float64) row {
		ratio := most[1] / most[0]
		return row{what: "most memory, " + what, ours: megabytes(most[0]), against: megabytes(most[1]), ratio: fmt.Sprintf("%.2f", ratio),
			target: fmt.Sprintf("at most %.2f", importGrowth), met: ratio <= importGrowth}
	}
	b.table("import", "of four times the size",
		row{what: "talks a second", ours: spread(small, "%.0f"), against: fmt.Sprintf("%.0f", speed[1]),
			target: fmt.Sprintf("at least %d", importSpeed), met: median(small) >= importSpeed},
		row{what: "talks a second, all there already", ours: spread(smallAgain, "%.0f"), against: fmt.Sprintf("%.0f", again[1])},
		growth("logic tier", logic), growth("talksctl", talksctl))
	return nil
}
