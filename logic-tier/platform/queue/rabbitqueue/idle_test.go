package rabbitqueue_test

import (
	"testing"
	"time"

	"techtalks.example/logic-tier/platform/queue"
)

// With two idle processes, one of which is the relay, each queries the database at
// most once a second, whatever the number of its queues.
func TestIdleProcessQueriesDatabaseAtMostOncePerSecond(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	const processes = 2
	for range processes {
		engine := f.newProcess()
		f.run(engine.Run)
		var got recorder
		f.consume(engine, queue.Consumer{Queue: "work", Handle: got.handle})
		f.waitFor("a connection", func() bool { return engine.Up() == nil })
	}
	f.waitFor("a relay", func() bool { return f.count(lockHolder) > 0 })
	type query struct {
		pid     int
		started time.Time
	}
	queries := map[query]bool{}
	// Each sample sees the latest query of every connection.
	sample := func() {
		rows, err := f.superuser.Query(`select pid, query_start from pg_stat_activity where usename = 'queue' and query_start is not null`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var q query
			if err := rows.Scan(&q.pid, &q.started); err != nil {
				t.Fatal(err)
			}
			queries[q] = true
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	sample()
	before := len(queries)
	const seconds = 15
	for start := time.Now(); time.Since(start) < seconds*time.Second; time.Sleep(5 * time.Millisecond) {
		sample()
	}
	n := len(queries) - before
	if n > processes*seconds {
		t.Errorf("got %d queries by %d processes in %d seconds, want at most %d", n, processes, seconds, processes*seconds)
	} else {
		t.Logf("%d queries by %d processes in %d seconds", n, processes, seconds)
	}
}
