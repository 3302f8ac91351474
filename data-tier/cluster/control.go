package cluster

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// controlTime bounds reading the control file.
const controlTime = 10 * time.Second

// control is what a stopped data directory says of itself (PostgreSQL manual,
// pg_controldata).
type control struct {
	state    string // "shut down", "in production" after a crash, …
	system   string // made by initdb, and the same in all copies
	timeline int    // counts promotions and restores
}

func (s control) clean() bool { return s.state == "shut down" || s.state == "shut down in recovery" }

var controlLine = regexp.MustCompile(`(?m)^([^:\n]+):\s+(.*)$`)

func (c *Cluster) control(ctx context.Context) (control, error) {
	ctx, done := context.WithTimeout(ctx, controlTime)
	defer done()
	output, err := c.tool(ctx, "pg_controldata", "--pgdata", c.options.Directory)
	if err != nil {
		return control{}, err
	}
	values := map[string]string{}
	for _, line := range controlLine.FindAllSubmatch(output, -1) {
		values[string(line[1])] = string(line[2])
	}
	is := control{state: values["Database cluster state"], system: values["Database system identifier"]}
	if is.timeline, err = strconv.Atoi(values["Latest checkpoint's TimeLineID"]); err != nil {
		return is, fmt.Errorf("pg_controldata says no timeline: %w", err)
	}
	// A standby that stopped since its last restartpoint may have replayed further.
	if replayed, err := strconv.Atoi(values["Min recovery ending loc's timeline"]); err == nil {
		is.timeline = max(is.timeline, replayed)
	}
	return is, nil
}
