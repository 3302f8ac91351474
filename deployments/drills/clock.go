package drills

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// clockSettings have Postgres see a clock that setClock sets (libfaketime): the one by which
// leases, delays and sessions are measured, on whatever host they are asked for.
func (s *Site) clockSettings() ([]string, error) {
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if len(found) == 0 {
		return nil, errors.New("libfaketime is missing (Debian: libfaketime): run deployments/local/install.sh hosts")
	}
	if err := s.setClock(0); err != nil {
		return nil, err
	}
	// It is not cached: a host has one clock, and processes that look for it at different
	// moments would have two for as long.
	return []string{
		"LD_PRELOAD=" + found[0], "FAKETIME_TIMESTAMP_FILE=" + s.clockFile(), "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1",
	}, nil
}

func (s *Site) clockFile() string { return filepath.Join(s.home("data"), "clock") }

// setClock sets the data tier's clock to so much after the true time.
func (s *Site) setClock(ahead time.Duration) error {
	made := s.clockFile() + ".new"
	if err := os.WriteFile(made, []byte(fmt.Sprintf("%+d\n", int(ahead.Seconds()))), 0o644); err != nil {
		return err
	}
	return os.Rename(made, s.clockFile())
}

// awaitClock waits until the database sees the clock as it was set.
func (s *Site) awaitClock(ctx context.Context, ahead time.Duration) error {
	ctx, done := context.WithTimeout(ctx, patience)
	defer done()
	for {
		off, err := s.SQL(ctx, fmt.Sprintf("select abs(extract(epoch from clock_timestamp()) - %d) < 10", time.Now().Add(ahead).Unix()))
		if err != nil {
			return err
		}
		if off == "t" {
			return nil
		}
		pause(ctx, 100*time.Millisecond)
	}
}
