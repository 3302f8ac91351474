package inspection

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/queue"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// topology is the whole of what is declared, as the contract shows it.
type topology struct {
	exchanges []*queuepb.Exchange
	bindings  []*queuepb.Binding
	queues    []queue.Queue
	bodies    map[string]proto.Message
	tests     map[string]bool // names of test exchanges and queues
	// of finds a test exchange's bindings.
	types map[string]queue.ExchangeType
}

func newTopology(all []queue.Topology) topology {
	t := topology{bodies: map[string]proto.Message{}, tests: map[string]bool{}, types: map[string]queue.ExchangeType{}}
	exchanges := map[string]*queuepb.Exchange{}
	for _, one := range all {
		test := one.Module == testModule
		for _, e := range one.Exchanges {
			if exchanges[e.Name] == nil {
				exchanges[e.Name] = &queuepb.Exchange{Name: e.Name, Type: string(e.Type), Test: test}
				t.exchanges = append(t.exchanges, exchanges[e.Name])
				t.types[e.Name] = e.Type
			}
			t.tests[e.Name] = t.tests[e.Name] || test
		}
	}
	for _, one := range all {
		for _, name := range one.Publishes {
			if one.Module == testModule {
				continue // operators publish to them, not a module
			}
			exchanges[name].Producers = append(exchanges[name].Producers, one.Module)
		}
		for kind, body := range one.Bodies {
			t.bodies[kind] = body
		}
		for _, q := range one.Queues {
			t.queues = append(t.queues, q.WithDefaults())
			t.tests[q.Name] = one.Module == testModule
			for _, b := range q.Bindings {
				t.bindings = append(t.bindings, &queuepb.Binding{Exchange: b.Exchange, Queue: q.Name, Pattern: b.Text()})
			}
		}
	}
	slices.SortFunc(t.exchanges, func(a, b *queuepb.Exchange) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(t.queues, func(a, b queue.Queue) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(t.bindings, func(a, b *queuepb.Binding) int {
		return cmp.Or(cmp.Compare(a.Exchange, b.Exchange), cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Pattern, b.Pattern))
	})
	return t
}

// matching returns the bindings that match a message.
func (t topology) matching(exchange, routingKey string, headers map[string]string) (matching []*queuepb.Binding) {
	for _, q := range t.queues {
		for _, b := range q.Bindings {
			if b.Exchange == exchange && t.types[exchange].Matches(b, routingKey, headers) {
				matching = append(matching, &queuepb.Binding{Exchange: exchange, Queue: q.Name, Pattern: b.Text()})
			}
		}
	}
	return matching
}
