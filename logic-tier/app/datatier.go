package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"techtalks.example/logic-tier/platform/postgres"
)

// pingInterval is how often the data tier is checked for health and readiness.
const pingInterval = time.Second

// logInterval is how often the reason for not being ready is logged.
const logInterval = 5 * time.Second

// watchDataTier pings the data tier until ctx is cancelled, and reports changes of
// readiness to setServing. The tier is ready when the data tier answers, its schemas are
// new enough, and the queue topology has been declared, without which nothing can be
// published.
func (p *process) watchDataTier(ctx context.Context, opened map[string]*postgres.DB, setServing func(bool)) error {
	declared := p.declared
	checked := false // the schemas are new enough
	var lastLog time.Time
	for wasReady := false; ; {
		pingCtx, cancel := context.WithTimeout(ctx, 2*time.Second)
		name, err := opened["queue"].ServerName(pingCtx)
		var outdated error
		if err == nil && !checked {
			outdated, err = checkSchemas(pingCtx, opened)
			checked = outdated == nil && err == nil
		}
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case err != nil:
			err = fmt.Errorf("the data tier at %s (--data-address, DATA_ADDRESS) does not answer: see whether it runs there: %w", p.settings.dataAddress, err)
			p.ready.set(err)
		case outdated != nil:
			p.ready.set(outdated)
		case declared != nil:
			p.ready.set(errors.New("queue topology not declared yet"))
		default:
			p.dataHost.Store(&name)
			p.ready.set(nil)
		}
		if err != nil {
			checked = false // another data tier can answer next
		}
		if (err != nil || outdated != nil) && time.Since(lastLog) >= logInterval {
			lastLog = time.Now()
			if err != nil {
				p.log.Warn("waiting for the data tier", "reason", err)
			} else {
				p.log.Error("waiting for the data tier to be migrated", "reason", outdated)
			}
		}
		if ready := err == nil && outdated == nil && declared == nil; ready != wasReady {
			setServing(ready)
			if ready {
				lastLog = time.Time{}
				p.log.Info("connected to the data tier", "data", p.settings.dataAddress, "host", name)
			}
			wasReady = ready
		}
		select {
		case <-ctx.Done():
			return nil
		case <-declared:
			declared = nil
		case <-time.After(pingInterval):
		}
	}
}
