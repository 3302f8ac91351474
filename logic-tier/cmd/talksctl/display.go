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

// display shows progress: a redrawn bar on a terminal, a line every few seconds elsewhere.
// It is safe for concurrent use.
type display struct {
	out      *os.File
	terminal bool

	mu       sync.Mutex
	lastDraw time.Time
	bar      bool  // the last line is a bar
	unsent   int64 // files that were not sent
}

const (
	barWidth     = 30
	drawInterval = 100 * time.Millisecond // faster redraws are not perceptible
	lineInterval = 5 * time.Second
)

func newDisplay(out *os.File) *display {
	return &display{out: out, terminal: isTerminal(out), lastDraw: time.Now()}
}

func isTerminal(out any) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// operation shows the progress of an operation.
func (d *display) operation(m *operationspb.OperationMetadata) {
	label := stateNames[m.State]
	if m.CancelRequested && m.EndTime == nil {
		label = "cancelling"
	}
	if left := time.Until(m.EstimatedEndTime.AsTime()); m.EstimatedEndTime != nil && left > time.Second {
		label += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	d.progress(label, m.DoneCount, m.TotalCount, m.Unit)
}

// progress shows that done of total units are done.
func (d *display) progress(label string, done, total int64, unit string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	interval := drawInterval
	if !d.terminal {
		interval = lineInterval
	}
	if time.Since(d.lastDraw) < interval && done < total {
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
	text := fmt.Sprintf("%3.0f %%  %s  %s", 100*share, label, amount)
	switch {
	case d.terminal:
		filled := int(share * barWidth)
		fmt.Fprintf(d.out, "\r\x1b[K[%s%s] %s", strings.Repeat("=", filled), strings.Repeat(" ", barWidth-filled), text)
		d.bar = true
	case time.Since(d.lastDraw) >= interval:
		fmt.Fprintln(d.out, text)
	default:
		return // 100 % shortly after the previous line
	}
	d.lastDraw = time.Now()
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// rejected prints a file that the logic tier rejected.
func (d *display) rejected(path, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rejectionLine(path, reason)
}

// skipped prints and counts a file that was not sent.
func (d *display) skipped(path, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unsent++
	d.rejectionLine(path, reason)
}

func (d *display) rejectionLine(path, reason string) {
	if d.bar {
		fmt.Fprint(d.out, "\r\x1b[K")
		d.bar = false
	}
	fmt.Fprintf(d.out, "rejected: %s: %s\n", path, reason)
}

// result prints the summary of an import.
func (d *display) result(r *transferspb.ImportCatalogueResponse) {
	d.endBar()
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, "%d files: %d channels and %d talks added, %d talks already present, %d files rejected, %d ignored\n",
		r.Files+d.unsent, r.ChannelsCreated, r.TalksCreated, r.TalksPresent, r.Rejected+d.unsent, r.Ignored)
}

// endBar moves to a new line after a bar.
func (d *display) endBar() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bar {
		fmt.Fprintln(d.out)
		d.bar = false
	}
}
