package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// display shows progress: a bar that redraws itself on a terminal, a line every
// few seconds elsewhere.
type display struct {
	out       *os.File
	terminal  bool
	catalogue *source
	began     time.Time
	drawn     time.Time
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
	talks := p.TalksCreated + p.TalksPresent
	share := 0.0
	if d.catalogue.total > 0 {
		share = min(1, float64(d.catalogue.read.Load())/float64(d.catalogue.total))
	}
	speed := float64(talks) / max(time.Since(d.began).Seconds(), 0.001)
	text := fmt.Sprintf("%3.0f %%  %d talks, %d channels, %d not taken, %.0f talks/s", 100*share, talks, p.ChannelsCreated, p.Rejected, speed)
	switch {
	case d.terminal:
		done := int(share * barWidth)
		fmt.Fprintf(d.out, "\r\x1b[K[%s%s] %s", strings.Repeat("=", done), strings.Repeat(" ", barWidth-done), text)
	case time.Since(d.drawn) >= lineEvery:
		d.drawn = time.Now()
		fmt.Fprintln(d.out, text)
	}
}

func (d *display) rejected(path, reason string) {
	if d.terminal {
		fmt.Fprint(d.out, "\r\x1b[K")
	}
	fmt.Fprintf(d.out, "not taken: %s: %s\n", path, reason)
}

func (d *display) end() {
	if d.terminal {
		fmt.Fprintln(d.out)
	}
}
