package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"techtalks.example/deployments/broker"
)

// engine is who keeps the queue, as BROKER says: nobody but Postgres, a RabbitMQ of
// this site's own, or one elsewhere.
type engine struct {
	own     bool
	address string // of the site's own
	url     string // for the logic tier; empty for Postgres
}

func newEngine() (engine, error) {
	address := cmp.Or(os.Getenv("BROKER_ADDRESS"), "127.0.0.1:56710")
	switch asked := os.Getenv("BROKER"); {
	case asked == "":
		return engine{}, nil
	case asked == "rabbitmq":
		return engine{own: true, address: address, url: "amqps://" + address + "/techtalks"}, nil
	case strings.HasPrefix(asked, "amqps://"), strings.HasPrefix(asked, "amqp://"):
		return engine{url: asked}, nil
	default:
		return engine{}, fmt.Errorf("BROKER=%s is none of the three it knows: nothing (the queue is in Postgres), "+
			"rabbitmq (RabbitMQ beside the tiers), or the URL of a RabbitMQ elsewhere, amqps://host:port/vhost", asked)
	}
}

func (s site) node() (*broker.Node, error) {
	return broker.NewNode(filepath.Join(s.run, "broker"), s.engine.address, s.certificates(), filepath.Join(s.root, "deployments", "broker"), s.binary("rabbitmqctl"))
}

// brokerTiers are the two programs of the site's own RabbitMQ.
func (s site) brokerTiers(n *broker.Node) []*tier {
	mapper, server := n.Programs()
	start := func(p broker.Program, ready func(context.Context, *tier) error) *tier {
		t := s.process(p.Name, p.Address, p.Path, ready, p.Arguments...)
		t.environment, t.folder = p.Environment, p.Folder
		return t
	}
	return []*tier{
		start(mapper, takesConnections),
		start(server, func(ctx context.Context, _ *tier) error { return n.Answers(ctx) }),
	}
}

func takesConnections(ctx context.Context, t *tier) error {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return err
	}
	return connection.Close()
}
