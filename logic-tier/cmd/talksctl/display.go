package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// display shows progress: a bar that redraws itself on a terminal, a line every
// few seconds elsewhere. Safe for concurrent use: a file is told of as it is
// passed over, here or by the logic tier.
type display struct {
	out       *os.File
	terminal  bool
	catalogue *source
	began     time.Time

	mu    sync.Mutex
	drawn time.Time
	bar   bool  // the last line is a bar
	kept  int64 // files that were never sent
}

const (
	barWidth  = 30
	lineEvery = 5 * time.Second
)

func newDisplay(out *os.File, catalogue *source) *display {
	info, err := out.Stat()
	now := time.Now()
	return &display{
		out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0,
		catalogue: catalogue, began: now, drawn: now,
	}
}

func (d *display) progress(p *transferspb.ImportCatalogueResponse_Progress) {
	d.mu.Lock()
	defer d.mu.Unlock()
	talks := p.TalksCreated + p.TalksPresent
	share := 0.0
	if d.catalogue.total > 0 {
		share = min(1, float64(d.catalogue.read.Load())/float64(d.catalogue.total))
	}
	speed := float64(talks) / max(time.Since(d.began).Seconds(), 0.001)
	text := fmt.Sprintf("%3.0f %%  %d talks, %d channels, %d not taken, %.0f talks/s", 100*share, talks, p.ChannelsCreated, p.Rejected+d.kept, speed)
	switch {
	case d.terminal:
		done := int(share * barWidth)
		fmt.Fprintf(d.out, "\r\x1b[K[%s%s] %s", strings.Repeat("=", done), strings.Repeat(" ", barWidth-done), text)
		d.bar = true
	case time.Since(d.drawn) >= lineEvery:
		d.drawn = time.Now()
		fmt.Fprintln(d.out, text)
	}
}

// rejected tells of a file that the logic tier did not take.
func (d *display) rejected(path, reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.line(path, reason)
}

// unsent tells of a file that was not sent.
func (d *display) unsent(f file) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept++
	d.line(f.path, f.reason)
}

func (d *display) line(path, reason string) {
	if d.bar {
		fmt.Fprint(d.out, "\r\x1b[K")
		d.bar = false
	}
	fmt.Fprintf(d.out, "not taken: %s: %s\n", path, reason)
}

// result says what came of it all.
func (d *display) result(p *transferspb.ImportCatalogueResponse_Progress) {
	d.end()
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.out, "%d files: %d channels and %d talks added, %d talks there already, %d files not taken, %d passed over\n",
		p.Files+d.kept, p.ChannelsCreated, p.TalksCreated, p.TalksPresent, p.Rejected+d.kept, p.Ignored)
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
