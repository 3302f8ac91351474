package drills

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"techtalks.example/deployments/broker"
)

// logicBroker is the network of those who may talk to the broker.
const logicBroker = "logic-broker"

// startBroker starts RabbitMQ on a host of its own.
func (s *Site) startBroker(ctx context.Context) error {
	host, err := s.newHost("broker", "broker", logicBroker)
	if err != nil {
		return err
	}
	folder := filepath.Join(host.Folder(), "node")
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	node, err := broker.NewNode(folder, net.JoinHostPort(host.Address(logicBroker), "5671"), s.certificates(host.Name), s.brokerConfiguration, filepath.Join(folder, "rabbitmqctl"))
	if err != nil {
		return err
	}
	mapper, server := node.Programs()
	if _, err := host.Start(mapper.Name, mapper.Path, mapper.Environment, mapper.Arguments...); err != nil {
		return err
	}
	if s.Broker, err = host.Start(server.Name, server.Path, server.Environment, server.Arguments...); err != nil {
		return err
	}
	return s.brokerAnswers(ctx)
}

// brokerAnswers waits until the broker takes connections, as a logic tier makes them: from
// a host of its network.
func (s *Site) brokerAnswers(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, patience)
	defer done()
	for {
		try := s.Broker.Host.Command(ctx, nil, "bash", "-c", "</dev/tcp/"+s.Broker.Host.Address(logicBroker)+"/5671")
		if try.Run() == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the broker does not answer:\n%s", s.Broker.End(15))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
