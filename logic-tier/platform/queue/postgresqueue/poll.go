package postgresqueue

import (
	"context"

	"techtalks.example/logic-tier/platform/queue/notify"
)

// poll looks for messages without a notification, writes heartbeats and renews
// exclusive queues until ctx ends, with one statement for all queues of the process.
func (q *Queue) poll(ctx context.Context) error {
	for notify.Sleep(ctx, q.pollInterval) {
		consumptions, ids := q.consumptions()
		if len(ids) == 0 {
			continue
		}
		pollCtx, cancel := context.WithTimeout(ctx, statementTimeout)
		heartbeat, due := q.registry.Heartbeat()
		var result pollResult
		var err error
		if due {
			result, err = pollWithHeartbeat(pollCtx, q.db, ids, heartbeat)
		} else {
			result, err = pollQueues(pollCtx, q.db, ids)
		}
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				q.log.Warn("queue: cannot poll for messages; retrying", "error", err)
			}
			q.registry.HeartbeatFailed()
			continue
		}
		q.notifier.NotifyLocal(result.ready...)
		if !due {
			continue
		}
		for _, c := range consumptions {
			if c.exclusive && !result.renewed[c.id] {
				c.restart() // the queue expired while the database was unavailable
			}
		}
	}
	return nil
}

// consumptions returns the running consumptions and the ids of their queues.
func (q *Queue) consumptions() (all []*consumption, ids []int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for c := range q.consuming {
		all = append(all, c)
		ids = append(ids, int64(c.id))
	}
	return all, ids
}
