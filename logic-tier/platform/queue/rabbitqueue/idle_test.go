package rabbitqueue_test

import (
	"testing"
	"time"

	"techtalks.example/logic-tier/platform/queue"
)

// A process with nothing to do asks the database at most once a second, all its
// queues together; of two, one ships.
func TestAnIdleProcessAsksLittle(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	const processes = 2
	for range processes {
		by := s.another()
		s.run(by.Run)
		var got notes
		s.consume(by, queue.Consumer{Queue: "work", Handle: got.handle})
		s.until("a connection", func() bool { return by.Up() == nil })
	}
	s.until("a relay", func() bool { return s.count(lockHolder) > 0 })
	type query struct {
		process int
		began   time.Time
	}
	asked := map[query]bool{}
	// A connection that is new since, and the last query of each from before.
	sample := func() {
		rows, err := s.inside.Query(`select pid, query_start from pg_stat_activity where usename = 'queue' and query_start is not null`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var q query
			if err := rows.Scan(&q.process, &q.began); err != nil {
				t.Fatal(err)
			}
			asked[q] = true
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	sample()
	before := len(asked)
	const seconds = 15
	for began := time.Now(); time.Since(began) < seconds*time.Second; time.Sleep(5 * time.Millisecond) {
		sample()
	}
	if n := len(asked) - before; n > processes*seconds {
		t.Errorf("%d queries in %d seconds by %d processes", n, seconds, processes)
	} else {
		t.Logf("%d queries in %d seconds by %d processes", n, seconds, processes)
	}
}
