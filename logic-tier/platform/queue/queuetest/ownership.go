package queuetest

import (
	"strings"
	"testing"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
)

// testExchangeOwner publishes as the role "talks" to its exchange and to that of another
// module.
func testExchangeOwner(t *testing.T, env *Env) {
	owned := func(module string) queue.Topology {
		return queue.Topology{
			Module: module, Publishes: []string{module},
			Exchanges: []queue.Exchange{{Name: module, Type: queue.Fanout}},
			Queues:    []queue.Queue{{Name: module + ".all", Bindings: []queue.Binding{{Exchange: module}}}},
		}
	}
	subscriber := queue.Topology{Module: "media", Exchanges: []queue.Exchange{{Name: "talks", Type: queue.Fanout}}}
	f := newFixture(t, env, subscriber, owned("talks"), owned("media"), subscriber)
	var talks, media received
	f.consume(f.engine, queue.Consumer{Queue: "talks.all", Concurrency: 1, Handle: talks.handle})
	f.consume(f.engine, queue.Consumer{Queue: "media.all", Concurrency: 1, Handle: media.handle})
	if _, err := f.tryPublish(queue.Message{Exchange: "media"}, "forged"); err == nil || !strings.Contains(err.Error(), `exchange "media" belongs to the module "media"`) {
		t.Errorf("publish to the exchange of media: got %v, want an error that names its owner", err)
	}
	f.publish(queue.Message{Exchange: "talks"}, "genuine")
	f.until("the message to the exchange of talks", talks.contains("genuine"))
	if n := f.count("select count(*) from queue.outbox") + f.count("select count(*) from queue.dead_letter"); n != 0 || len(media.all()) != 0 {
		t.Errorf("forged message: got %d rows and deliveries %v, want none", n, media.texts())
	}
	conflicting := queue.Topology{Module: "talks", Publishes: []string{"media"}, Exchanges: []queue.Exchange{{Name: "media", Type: queue.Fanout}}}
	if err := f.engine.Declare(t.Context(), conflicting); !queue.IsPermanent(err) {
		t.Errorf("declare the exchange of another module: got %v, want a permanent error", err)
	}
}

// testQueueOwner marks messages as handled as the role "talks".
func testQueueOwner(t *testing.T, env *Env) {
	owned := func(module string) queue.Topology {
		return queue.Topology{Module: module, Queues: []queue.Queue{{Name: module + ".all"}}}
	}
	f := newFixture(t, env, owned("talks"), owned("media"))
	markHandled := func(name string) error {
		return f.Module.InTransaction(t.Context(), func(tx *postgres.Tx) error {
			return queue.Delivery{Queue: name, ID: 4711}.Once(t.Context(), tx)
		})
	}
	if err := markHandled("media.all"); err == nil || !strings.Contains(err.Error(), `queue "media.all" belongs to another module`) {
		t.Errorf("queue of another module: got %v, want an error", err)
	}
	if err := markHandled("talks.all"); err != nil {
		t.Errorf("queue of the module: got %v, want no error", err)
	}
}
