package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"techtalks.example/logic-tier/platform/postgres"
)

// pingEvery is how often the data tier is asked whether it is there, which is
// what health and readiness tell.
const pingEvery = time.Second

// sayEvery is how often it is said again why the tier waits.
const sayEvery = 5 * time.Second

// watchData asks the data tier whether it is there until ctx ends, and says so.
// Before the topology is declared there for the first time, nothing can be
// published, and the tier is not ready.
func (a *app) watchData(ctx context.Context, opened map[string]*postgres.DB, say func(bool)) error {
	declared := a.declared
	known := false // that the schemas are new enough
	var said time.Time
	for was := false; ; {
		asking, done := context.WithTimeout(ctx, 2*time.Second)
		name, err := opened["queue"].ServerName(asking)
		var old error
		if err == nil && !known {
			old = migrated(asking, opened)
			known = old == nil
		}
		done()
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err != nil:
			err = fmt.Errorf("the data tier at %s (--data-address, DATA_ADDRESS) does not answer: see whether it runs there: %w", a.settings.dataAddress, err)
			a.ready.set(err)
		case old != nil:
			a.ready.set(old)
		case declared != nil:
			a.ready.set(errors.New("the queue's topology is not declared yet"))
		default:
			a.dataHost.Store(&name)
			a.ready.set(nil)
		}
		if err != nil {
			known = false // it may come back as another
		}
		if (err != nil || old != nil) && time.Since(said) >= sayEvery {
			said = time.Now()
			if err != nil {
				a.log.Warn("waiting for the data tier", "reason", err)
			} else {
				a.log.Error("waiting for the data tier to be migrated", "reason", old)
			}
		}
		if is := err == nil && old == nil && declared == nil; is != was {
			say(is)
			if is {
				said = time.Time{}
				a.log.Info("data tier is there", "data", a.settings.dataAddress, "host", name)
			}
			was = is
		}
		select {
		case <-ctx.Done():
			return nil
		case <-declared:
			declared = nil
		case <-time.After(pingEvery):
		}
	}
}
