package drills

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// clockSettings returns settings with which Postgres uses a clock that setClock sets
// (libfaketime). Leases, delays and sessions are measured by this clock on all hosts.
func (s *Site) clockSettings() ([]string, error) {
	found, _ := filepath.Glob("/usr/lib/*/faketime/libfaketime.so.1")
	if len(found) == 0 {
		return nil, errors.New("libfaketime is missing (Debian: libfaketime): run deployments/local/install.sh hosts")
	}
	if err := s.setClock(0); err != nil {
		return nil, err
	}
	// Without the cache, all processes of the host see a change at the same time.
	return []string{
		"LD_PRELOAD=" + found[0], "FAKETIME_TIMESTAMP_FILE=" + s.clockFile(), "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1",
	}, nil
}

func (s *Site) clockFile() string { return filepath.Join(s.hostFolder("data"), "clock") }

// setClock sets the data tier's clock ahead of the true time.
func (s *Site) setClock(ahead time.Duration) error {
	file := s.clockFile() + ".new"
	if err := os.WriteFile(file, []byte(fmt.Sprintf("%+d\n", int(ahead.Seconds()))), 0o644); err != nil {
		return err
	}
	return os.Rename(file, s.clockFile())
}

// awaitClock waits until the database's clock is ahead of the true time by the given duration.
func (s *Site) awaitClock(ctx context.Context, ahead time.Duration) error {
	ctx, done := context.WithTimeout(ctx, waitTimeout)
	defer done()
	for {
		set, err := s.SQL(ctx, fmt.Sprintf("select abs(extract(epoch from clock_timestamp()) - %d) < 10", time.Now().Add(ahead).Unix()))
		if err != nil {
			return err
		}
		if set == "t" {
			return nil
		}
		pause(ctx, 100*time.Millisecond)
	}
}
