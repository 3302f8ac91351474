package postgresqueue

import "time"

// LookEvery sets how often a process looks without being woken.
func (q *Queue) LookEvery(d time.Duration) { q.look = d }
