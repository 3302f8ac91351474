package inspection

import (
	"cmp"
	"slices"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/queue"
	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// topology is the merged topology of all modules, in the types of the contract.
type topology struct {
	exchanges []*queuepb.Exchange
	bindings  []*queuepb.Binding
	queues    []queue.Queue
	bodies    map[string]proto.Message
	tests     map[string]bool               // names of test exchanges and queues
	types     map[string]queue.ExchangeType // by exchange
}

func newTopology(declared []queue.Topology) topology {
	t := topology{bodies: map[string]proto.Message{}, tests: map[string]bool{}, types: map[string]queue.ExchangeType{}}
	exchanges := map[string]*queuepb.Exchange{}
	for _, d := range declared {
		test := d.Module == testModule
		for _, e := range d.Exchanges {
			if exchanges[e.Name] == nil {
				exchanges[e.Name] = &queuepb.Exchange{Name: e.Name, Type: string(e.Type), Test: test}
				t.exchanges = append(t.exchanges, exchanges[e.Name])
				t.types[e.Name] = e.Type
			}
			t.tests[e.Name] = t.tests[e.Name] || test
		}
	}
	for _, d := range declared {
		for _, name := range d.Publishes {
			if d.Module == testModule {
				continue // operators publish to test exchanges
			}
			exchanges[name].Producers = append(exchanges[name].Producers, d.Module)
		}
		for messageType, body := range d.Bodies {
			t.bodies[messageType] = body
		}
		for _, q := range d.Queues {
			t.queues = append(t.queues, q.WithDefaults())
			t.tests[q.Name] = d.Module == testModule
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

// matchingBindings returns the bindings of an exchange that match a message.
func (t topology) matchingBindings(exchange, routingKey string, headers map[string]string) (bindings []*queuepb.Binding) {
	for _, q := range t.queues {
		for _, b := range q.Bindings {
			if b.Exchange == exchange && t.types[exchange].Matches(b, routingKey, headers) {
				bindings = append(bindings, &queuepb.Binding{Exchange: exchange, Queue: q.Name, Pattern: b.Text()})
			}
		}
	}
	return bindings
}
