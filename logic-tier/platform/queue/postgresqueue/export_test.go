package postgresqueue

import "time"

// SetPollInterval sets how often a process polls for messages.
func (q *Queue) SetPollInterval(d time.Duration) { q.pollInterval = d }
