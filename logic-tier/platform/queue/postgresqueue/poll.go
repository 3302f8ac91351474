package postgresqueue

import (
	"context"

	"techtalks.example/logic-tier/platform/queue/notify"
)

// lookOut looks for messages that nobody was woken for, says who consumes here,
// and keeps exclusive queues, in one statement for all queues of the process.
func (q *Queue) lookOut(ctx context.Context) error {
	for notify.Sleep(ctx, q.look) {
		all, ids := q.consumptions()
		if len(ids) == 0 {
			continue
		}
		looking, done := context.WithTimeout(ctx, statementTimeout)
		beat, due := q.registry.Heartbeat()
		var seen seen
		var err error
		if due {
			seen, err = lookAndBeat(looking, q.db, ids, beat)
		} else {
			seen, err = lookOnly(looking, q.db, ids)
		}
		done()
		if err != nil {
			if ctx.Err() == nil {
				q.log.Warn("queue: cannot look for messages; trying again", "error", err)
			}
			q.registry.HeartbeatFailed()
			continue
		}
		q.notifier.NotifyLocal(seen.ready...)
		if !due {
			continue
		}
		for _, c := range all {
			if c.exclusive && !seen.kept[c.id] {
				c.loseQueue() // it expired while the database was away
			}
		}
	}
	return nil
}

func (q *Queue) consumptions() (all []*consumption, ids []int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for c := range q.consuming {
		all = append(all, c)
		ids = append(ids, int64(c.id))
	}
	return all, ids
}
