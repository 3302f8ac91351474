package queuetest

import "testing"

// Run runs the suite. place makes a place as new for each test.
func Run(t *testing.T, place func(*testing.T) *Place) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *Place)
	}{
		{"an exchange routes by its type", routesByType},
		{"no binding is left of an earlier version", oldBindingsGo},
		{"a topology that cannot be is refused", badTopology},
		{"an exclusive queue is each consumer's own", exclusiveQueues},
		{"what no binding matches is noticed, and can be published again", unroutable},

		{"a message that cannot be is refused", badMessages},
		{"only an exchange's owner publishes to it", exchangeOwner},
		{"only a queue's owner marks its messages as handled", queueOwner},
		{"a rolled-back transaction publishes nothing", rolledBack},
		{"a message that nothing goes with is published by itself", byItself},
		{"a message arrives as it was published", asPublished},
		{"publishing fails at once while the database is away, and consumers come back", databaseAway},

		{"each message is worked by one consumer", oneConsumer},
		{"one handler sees the order of publishing", order},
		{"of what waits the higher priority comes first", priority},
		{"a delayed message comes when it is due", delay},
		{"prefetch bounds what a consumer holds, and draining puts it back", prefetch},
		{"concurrency bounds the handlers under way", concurrency},
		{"work longer than the lease stays with its consumer", longWork},
		{"a queue that is declared later is consumed", declaredLater},

		{"a message that fails comes back with its count", failing},
		{"a poison message ends in the dead letters and blocks nothing", poison},
		{"dead letters are delivered again, or discarded", redrive},
		{"an effect is there once however often a message is delivered", idempotent},

		{"nothing is lost with who is killed after publishing", killedPublisher},
		{"nothing is lost or done twice with who is killed before acknowledging", killedConsumer},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, place(t))
		})
	}
}
