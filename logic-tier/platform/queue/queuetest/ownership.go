package queuetest

import (
	"strings"
	"testing"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
)

// exchangeOwner publishes as the role "talks" to its own exchange and to another
// module's.
func exchangeOwner(t *testing.T, place *Place) {
	owned := func(module string) queue.Topology {
		return queue.Topology{
			Module: module, Publishes: []string{module},
			Exchanges: []queue.Exchange{{Name: module, Type: queue.Fanout}},
			Queues:    []queue.Queue{{Name: module + ".all", Bindings: []queue.Binding{{Exchange: module}}}},
		}
	}
	listener := queue.Topology{Module: "media", Exchanges: []queue.Exchange{{Name: "talks", Type: queue.Fanout}}}
	s := newSite(t, place, listener, owned("talks"), owned("media"), listener)
	var ours, theirs notes
	s.consume(s.engine, queue.Consumer{Queue: "talks.all", Concurrency: 1, Handle: ours.handle})
	s.consume(s.engine, queue.Consumer{Queue: "media.all", Concurrency: 1, Handle: theirs.handle})
	if _, err := s.tryPublish(queue.Message{Exchange: "media"}, "forged"); err == nil || !strings.Contains(err.Error(), `exchange "media" belongs to the module "media"`) {
		t.Errorf("got %v, want the publication refused", err)
	}
	s.publish(queue.Message{Exchange: "talks"}, "own")
	s.until("the message on the module's own exchange", ours.holds("own"))
	if n := s.count("select count(*) from queue.outbox") + s.count("select count(*) from queue.dead_letter"); n != 0 || len(theirs.all()) != 0 {
		t.Errorf("the refused message is there: %d rows, deliveries %v", n, theirs.texts())
	}
	thief := queue.Topology{Module: "talks", Publishes: []string{"media"}, Exchanges: []queue.Exchange{{Name: "media", Type: queue.Fanout}}}
	if err := s.engine.Declare(t.Context(), thief); !queue.IsPermanent(err) {
		t.Errorf("an exchange declared by another owner: %v, want a permanent error", err)
	}
}

// queueOwner marks messages as handled as the role "talks".
func queueOwner(t *testing.T, place *Place) {
	owned := func(module string) queue.Topology {
		return queue.Topology{Module: module, Queues: []queue.Queue{{Name: module + ".all"}}}
	}
	s := newSite(t, place, owned("talks"), owned("media"))
	once := func(name string) error {
		return s.Module.InTransaction(t.Context(), func(tx *postgres.Tx) error {
			return queue.Delivery{Queue: name, ID: 4711}.Once(t.Context(), tx)
		})
	}
	if err := once("media.all"); err == nil || !strings.Contains(err.Error(), `queue "media.all" belongs to another module`) {
		t.Errorf("another module's queue: %v, want the mark refused", err)
	}
	if err := once("talks.all"); err != nil {
		t.Errorf("its own queue: %v", err)
	}
}
