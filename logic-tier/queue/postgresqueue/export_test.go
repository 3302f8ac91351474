package postgresqueue

import "time"

// LookEvery sets how often consumers look without being woken.
func (q *Queue) LookEvery(d time.Duration) { q.look = d }
