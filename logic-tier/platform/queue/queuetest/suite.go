package queuetest

import "testing"

// Run runs the suite. newEnv creates a fresh environment for each test.
func Run(t *testing.T, newEnv func(*testing.T) *Env) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *Env)
	}{
		{"exchanges route by their types", testRouting},
		{"declaring deletes the bindings of earlier versions", testObsoleteBindings},
		{"declaring an invalid topology fails", testInvalidTopology},
		{"each consumer has a separate exclusive queue", testExclusiveQueues},
		{"an unroutable message is dead-lettered and can be redriven", testUnroutable},

		{"publishing an invalid message fails", testInvalidMessages},
		{"only an exchange's owner publishes to it", testExchangeOwner},
		{"only a queue's owner marks its messages as handled", testQueueOwner},
		{"a rolled-back transaction publishes nothing", testRollback},
		{"a message can be published without a transaction", testPublishWithoutTransaction},
		{"a message arrives as published", testDeliveredFields},
		{"publishing fails while the database is unavailable, and consumers recover", testDatabaseUnavailable},

		{"each message goes to one consumer", testSharedQueue},
		{"one handler at a time receives messages in order", testOrder},
		{"higher priorities are delivered first", testPriority},
		{"a delayed message is delivered when it is due", testDelay},
		{"prefetch limits held messages, and draining returns them", testPrefetch},
		{"concurrency limits running handlers", testConcurrency},
		{"a handler that outlasts its lease keeps the message", testLeaseRenewal},
		{"a queue is consumed once it is declared", testDeclaredLater},

		{"a failed message is redelivered with its count", testRetry},
		{"a poison message is dead-lettered without blocking the queue", testPoison},
		{"dead letters are redriven or discarded", testRedrive},
		{"an effect happens once however often its message is delivered", testIdempotent},

		{"no message is lost when its publisher is killed", testPublisherKilled},
		{"no message is lost or handled twice when its consumer is killed", testConsumerKilled},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newEnv(t))
		})
	}
}
