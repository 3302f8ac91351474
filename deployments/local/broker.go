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

// engine is the queue's engine, selected by BROKER: Postgres, a RabbitMQ that this program
// runs, or a RabbitMQ elsewhere.
type engine struct {
	local   bool   // this program runs RabbitMQ
	address string // of the local RabbitMQ
	url     string // for the logic tier; empty selects Postgres
}

func newEngine() (engine, error) {
	address := cmp.Or(os.Getenv("BROKER_ADDRESS"), "127.0.0.1:56710")
	switch setting := os.Getenv("BROKER"); {
	case setting == "":
		return engine{}, nil
	case setting == "rabbitmq":
		return engine{local: true, address: address, url: "amqps://" + address + "/techtalks"}, nil
	case strings.HasPrefix(setting, "amqps://"), strings.HasPrefix(setting, "amqp://"):
		return engine{url: setting}, nil
	default:
		return engine{}, fmt.Errorf("BROKER=%s is not valid: leave it empty (the queue is in Postgres), use rabbitmq "+
			"(RabbitMQ on this machine), or the URL of a RabbitMQ elsewhere, amqps://host:port/vhost", setting)
	}
}

// name returns the engine's name for the summary of a start.
func (e engine) name() string {
	switch {
	case e.local:
		return "RabbitMQ on " + e.address
	case e.url != "":
		return "RabbitMQ elsewhere"
	default:
		return "Postgres"
	}
}

func (s site) node() (*broker.Node, error) {
	return broker.NewNode(filepath.Join(s.runDir, "broker"), s.engine.address, s.certificates(), filepath.Join(s.root, "deployments", "broker"), s.binary("rabbitmqctl"))
}

// brokerProcesses returns the two processes of the local RabbitMQ, in start order.
func (s site) brokerProcesses(n *broker.Node) []*process {
	mapper, server := n.Programs()
	newProcess := func(program broker.Program, ready func(context.Context, *process) error) *process {
		p := s.newProcess(program.Name, program.Address, program.Path, ready, program.Arguments...)
		p.environment, p.folder = program.Environment, program.Folder
		return p
	}
	return []*process{
		newProcess(mapper, acceptsConnections),
		newProcess(server, func(ctx context.Context, _ *process) error { return n.Ping(ctx) }),
	}
}

func acceptsConnections(ctx context.Context, p *process) error {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return err
	}
	return connection.Close()
}
