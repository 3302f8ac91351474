package main

import (
	"context"
	"fmt"
	"time"

	"techtalks.example/logic-tier/postgres"
)

// pingEvery is how often the data tier is asked whether it is there, which is
// what health and readiness tell.
const pingEvery = time.Second

// watchData asks the data tier whether it is there until ctx ends, and says so.
func (a *app) watchData(ctx context.Context, db *postgres.DB, say func(bool)) error {
	for was := false; ; {
		asking, done := context.WithTimeout(ctx, 2*time.Second)
		name, err := db.ServerName(asking)
		done()
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			a.dataHost.Store(&name)
			a.ready.set(nil)
		} else {
			a.ready.set(fmt.Errorf("the data tier at %s (--data-address) does not answer: %w", a.settings.dataAddress, err))
		}
		if is := err == nil; is != was {
			say(is)
			if is {
				a.log.Info("data tier is there", "data", a.settings.dataAddress, "host", name)
			} else {
				a.log.Warn("data tier does not answer", "data", a.settings.dataAddress, "error", err)
			}
			was = is
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pingEvery):
		}
	}
}
