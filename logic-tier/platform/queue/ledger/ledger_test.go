package ledger

import (
	"testing"

	"techtalks.example/logic-tier/platform/postgres/postgrestest"
	"techtalks.example/logic-tier/platform/queue"
)

func TestMain(m *testing.M) { postgrestest.Main(m) }

func TestSweep_DeletesOnlyExpiredRows(t *testing.T) {
	t.Parallel()
	database := postgrestest.New(t)
	superuser := database.Superuser()
	for _, statement := range []string{
		`insert into queue.exchange values ('f', 'fanout')`,
		`insert into queue.queue (name, delivery_limit, expires_at) values
		 ('permanent', 1, null), ('alive@1', 1, now() + interval '1 minute'), ('expired@1', 1, now() - interval '1 second')`,
		`insert into queue.binding select 'f', id, '', '' from queue.queue`,
		`insert into queue.message (queue_id, id, available_at, published_at, exchange, routing_key, type, traceparent, body)
		 select id, 1, now(), now(), 'f', '', '', '', '' from queue.queue`,
		`insert into queue.handled values ('q', 1, now() - interval '25 hours'), ('q', 2, now() - interval '23 hours')`,
		`insert into queue.consumer select p, 'q', 'h', 'e', 1, 1, 0, 0, 0, 0, now(), at
		 from (values ('running', now()), ('crashed', now() - interval '1 minute')) c (p, at)`,
	} {
		if _, err := superuser.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	if err := sweep(t.Context(), database.Open("queue")); err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string]string{
		`select string_agg(name, ' ' order by name) from queue.queue`:                                                      "alive@1 permanent",
		`select string_agg(q.name, ' ' order by q.name) from queue.message m left join queue.queue q on q.id = m.queue_id`: "alive@1 permanent",
		`select count(*)::text from queue.binding`:                                                                         "2",
		`select string_agg(message_id::text, ' ') from queue.handled`:                                                      "2",
		`select string_agg(process, ' ') from queue.consumer`:                                                              "running",
	} {
		var got string
		if err := superuser.QueryRow(query).Scan(&got); err != nil || got != want {
			t.Errorf("%s: got %q, %v; want %q", query, got, err, want)
		}
	}
	if _, err := superuser.Exec(`update queue.queue set expires_at = now() where name = 'alive@1'`); err != nil {
		t.Fatal(err)
	}
	var routed int
	if err := superuser.QueryRow(`select count(*) from queue.route('f', '', null)`).Scan(&routed); err != nil || routed != 1 {
		t.Errorf("queue.route returns %d queues, %v; want 1, without the expired queue", routed, err)
	}
}

func TestAppendFailure_KeepsLatestFailures(t *testing.T) {
	t.Parallel()
	var history []queue.Failure
	for i := range queue.MaxHistory + 5 {
		history = AppendFailure(history, queue.Failure{Count: i + 1})
	}
	if len(history) != queue.MaxHistory || history[0].Count != 6 {
		t.Errorf("got %d failures from delivery %d on, want %d from 6 on", len(history), history[0].Count, queue.MaxHistory)
	}
}
