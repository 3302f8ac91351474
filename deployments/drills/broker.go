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

// logicBroker is the network of the logic tier and the broker.
const logicBroker = "logic-broker"

// startBroker starts RabbitMQ on a new host.
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
	return s.awaitBroker(ctx)
}

// awaitBroker waits until the broker accepts connections on its address in the network of the
// logic tier.
func (s *Site) awaitBroker(ctx context.Context) error {
	ctx, done := context.WithTimeout(ctx, waitTimeout)
	defer done()
	for {
		connect := s.Broker.Host.Command(ctx, nil, "bash", "-c", "</dev/tcp/"+s.Broker.Host.Address(logicBroker)+"/5671")
		if connect.Run() == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the broker accepts no connections:\n%s", s.Broker.LogTail(15))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
