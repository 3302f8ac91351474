package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"techtalks.example/logic-tier/postgres"
)

// pingEvery is how often the data tier is asked whether it is there, which is
// what health and readiness tell.
const pingEvery = time.Second

// watchData asks the data tier whether it is there until ctx ends, and says so.
// Before the topology is declared there for the first time, nothing can be
// published, and the tier is not ready.
func (a *app) watchData(ctx context.Context, db *postgres.DB, say func(bool)) error {
	declared := a.declared
	for was := false; ; {
		asking, done := context.WithTimeout(ctx, 2*time.Second)
		name, err := db.ServerName(asking)
		done()
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err != nil:
			a.ready.set(fmt.Errorf("the data tier at %s (--data-address) does not answer: %w", a.settings.dataAddress, err))
		case declared != nil:
			a.ready.set(errors.New("the queue's topology is not declared yet"))
		default:
			a.dataHost.Store(&name)
			a.ready.set(nil)
		}
		if is := err == nil && declared == nil; is != was {
			say(is)
			if is {
				a.log.Info("data tier is there", "data", a.settings.dataAddress, "host", name)
			} else if err != nil {
				a.log.Warn("data tier does not answer", "data", a.settings.dataAddress, "error", err)
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
