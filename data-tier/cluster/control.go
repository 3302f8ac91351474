package cluster

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// controlTimeout bounds reading the control file.
const controlTimeout = 10 * time.Second

// control is the state of a stopped data directory (PostgreSQL manual,
// pg_controldata).
type control struct {
	state    string // "shut down", "in production" after a crash, …
	system   string // identifier from initdb, the same in all copies
	timeline int    // counts promotions and restores
}

// isClean reports whether Postgres was shut down, and neither crashed nor was killed.
func (s control) isClean() bool { return s.state == "shut down" || s.state == "shut down in recovery" }

var controlLine = regexp.MustCompile(`(?m)^([^:\n]+):\s+(.*)$`)

func (c *Cluster) control(ctx context.Context) (control, error) {
	ctx, done := context.WithTimeout(ctx, controlTimeout)
	defer done()
	output, err := c.tool(ctx, "pg_controldata", "--pgdata", c.options.Directory)
	if err != nil {
		return control{}, err
	}
	values := map[string]string{}
	for _, line := range controlLine.FindAllSubmatch(output, -1) {
		values[string(line[1])] = string(line[2])
	}
	s := control{state: values["Database cluster state"], system: values["Database system identifier"]}
	if s.timeline, err = strconv.Atoi(values["Latest checkpoint's TimeLineID"]); err != nil {
		return s, fmt.Errorf("pg_controldata prints no timeline: %w", err)
	}
	// A standby can have replayed beyond its last restartpoint.
	if replayed, err := strconv.Atoi(values["Min recovery ending loc's timeline"]); err == nil {
		s.timeline = max(s.timeline, replayed)
	}
	return s, nil
}
