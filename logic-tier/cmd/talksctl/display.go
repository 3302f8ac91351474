package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	operationspb "techtalks.example/proto/techtalks/operations/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// display shows progress: a bar that redraws itself on a terminal, a line every
// few seconds elsewhere. Safe for concurrent use: a file is told of as it is
// passed over, here or by the logic tier.
type display struct {
	out      *os.File
	terminal bool

	mu    sync.Mutex
	drawn time.Time
	bar   bool  // the last line is a bar
	kept  int64 // files that were never sent
}

const (
	barWidth  = 30
	drawEvery = 100 * time.Millisecond // quicker than this no eye sees it
	lineEvery = 5 * time.Second
)

func newDisplay(out *os.File) *display {
	return &display{out: out, terminal: isTerminal(out), drawn: time.Now()}
}

func isTerminal(out any) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// operation shows how far an operation is.
func (d *display) operation(how *operationspb.OperationMetadata) {
	what := states[how.State]
	if how.CancelRequested && how.EndTime == nil {
		what = "stopping"
	}
	if left := time.Until(how.EstimatedEndTime.AsTime()); how.EstimatedEndTime != nil && left > time.Second {
		what += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	d.progress(what, how.DoneCount, how.TotalCount, how.Unit)
}

// progress shows that so much of what is to be done is done.
func (d *display) progress(what string, done, total int64, unit string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	every := drawEvery
	if !d.terminal {
		every = lineEvery
	}
	if time.Since(d.drawn) < every && done < total {
		return
	}
	share := 0.0
	if total > 0 {
		share = min(1, float64(done)/float64(total))
	}
	amount := fmt.Sprintf("%d of %d %s", done, total, unit)
	switch {
	case unit == "bytes":
		amount = megabytes(done) + " of " + megabytes(total)
	case total == 0:
		amount = ""
	}
	text := fmt.Sprintf("%3.0f %%  %s  %s", 100*share, what, amount)
	switch {
	case d.terminal:
		filled := int(share * barWidth)
		fmt.Fprintf(d.out, "\r\x1b[K[%s%s] %s", strings.Repeat("=", filled), strings.Repeat(" ", barWidth-filled), text)
		d.bar = true
	case time.Since(d.drawn) >= every:
		fmt.Fprintln(d.out, text)
	default:
		return // the last one, soon after the one before it
	}
	d.drawn = time.Now()
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// rejected tells of a file that the logic tier did not take.
func (d *display) rejected(path, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.line(path, reason)
}

// unsent tells of a file that was not sent.
func (d *display) unsent(path, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept++
	d.line(path, reason)
}

func (d *display) line(path, reason string) {
	if d.bar {
		fmt.Fprint(d.out, "\r\x1b[K")
		d.bar = false
	}
	fmt.Fprintf(d.out, "not taken: %s: %s\n", path, reason)
}

// result says what came of it all.
func (d *display) result(r *transferspb.ImportCatalogueResponse) {
	d.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, "%d files: %d channels and %d talks added, %d talks there already, %d files not taken, %d passed over\n",
		r.Files+d.kept, r.ChannelsCreated, r.TalksCreated, r.TalksPresent, r.Rejected+d.kept, r.Ignored)
}

// end leaves what comes next a line of its own.
func (d *display) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bar {
		fmt.Fprintln(d.out)
		d.bar = false
	}
}
