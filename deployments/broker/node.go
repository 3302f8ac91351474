package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"techtalks.example/deployments/freeaddress"
)

// Node is a RabbitMQ node that runs directly on a host. It consists of two programs: the node
// and Erlang's port mapper, which Erlang would otherwise start as a daemon that outlives the
// node.
type Node struct {
	// Folder contains the node's data, logs and configuration.
	Folder string
	// Address is the host:port of the AMQP listener.
	Address string
	// Certificates is a folder with ca.crt, broker.crt and broker.key.
	Certificates string

	configDir      string // the source folder of this package, with the shared configuration
	server, mapper string // paths of the programs
	// Internal ports, chosen again for each Node.
	mapperPort, distributionPort string
}

// Program describes how to start one program of a node.
type Program struct {
	Name, Path  string
	Address     string // listens on
	Arguments   []string
	Environment []string
	Folder      string // working directory; empty: any
}

// NewNode finds RabbitMQ on this machine and writes the node's configuration into folder.
// configDir is the folder of this package in the source tree. NewNode writes a rabbitmqctl for
// this node to the path control.
func NewNode(folder, address, certificates, configDir, control string) (*Node, error) {
	n := &Node{Folder: folder, Address: address, Certificates: certificates, configDir: configDir}
	var err error
	if n.server, err = findProgram("rabbitmq-server", "/usr/lib/rabbitmq/bin", "/opt/rabbitmq*/sbin"); err != nil {
		return nil, err
	}
	if n.mapper, err = findProgram("epmd", "/usr/lib/erlang/bin", "/usr/local/lib/erlang/bin"); err != nil {
		return nil, err
	}
	if n.mapperPort, n.distributionPort, err = freePorts(); err != nil {
		return nil, err
	}
	return n, n.write(control)
}

// findProgram returns the path of a program from the first folder that contains it, or else
// from PATH. Folders can be glob patterns. They come first because Debian's rabbitmq-server on
// PATH always runs the node as the user rabbitmq.
func findProgram(name string, folders ...string) (string, error) {
	for _, folder := range folders {
		if paths, _ := filepath.Glob(filepath.Join(folder, name)); len(paths) > 0 {
			return paths[len(paths)-1], nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("RabbitMQ is missing: %w; run deployments/local/install.sh rabbitmq, or leave BROKER empty", err)
	}
	return path, nil
}

// freePorts returns two different loopback ports that no program listens on.
func freePorts() (first, second string, err error) {
	var ports [2]string
	for ports[0] == ports[1] {
		for i := range ports {
			address, err := freeaddress.Find()
			if err != nil {
				return "", "", err
			}
			if _, ports[i], err = net.SplitHostPort(address); err != nil {
				return "", "", err
			}
		}
	}
	return ports[0], ports[1], nil
}

// write writes the configuration that is specific to this node.
func (n *Node) write(control string) error {
	if err := os.MkdirAll(filepath.Join(n.Folder, "conf.d"), 0o755); err != nil {
		return err
	}
	settings := fmt.Sprintf(`listeners.ssl.default = %s
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
load_definitions = %s
`, n.Address, filepath.Join(n.Certificates, "ca.crt"), filepath.Join(n.Certificates, "broker.crt"),
		filepath.Join(n.Certificates, "broker.key"), n.configuration("definitions.json"))
	if err := os.WriteFile(filepath.Join(n.Folder, "conf.d", "site.conf"), []byte(settings), 0o644); err != nil {
		return err
	}
	// A rabbitmqctl that knows the ports of this node.
	script := "#!/bin/sh\n"
	for _, setting := range n.environment() {
		name, value, _ := strings.Cut(setting, "=")
		script += fmt.Sprintf("export %s='%s'\n", name, value)
	}
	script += fmt.Sprintf("exec '%s' \"$@\"\n", filepath.Join(filepath.Dir(n.server), "rabbitmqctl"))
	if err := os.WriteFile(control, []byte(script), 0o755); err != nil {
		return err
	}
	return n.writeCookie()
}

// writeCookie creates the secret with which rabbitmqctl authenticates. Erlang would generate
// a weaker one. It rejects a file that other users can read.
func (n *Node) writeCookie() error {
	path := filepath.Join(n.Folder, ".erlang.cookie")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	temporary := path + ".new"
	// A file from an interrupted start is read-only.
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(temporary, []byte(rand.Text()), 0o400); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// configuration returns the path of a shared configuration file.
func (n *Node) configuration(name string) string {
	return filepath.Join(n.configDir, name)
}

// environment returns the environment variables that configure RabbitMQ's programs for this
// node.
func (n *Node) environment() []string {
	return []string{
		"HOME=" + n.Folder,
		"LANG=C.UTF-8",
		"RABBITMQ_CONF_ENV_FILE=" + n.configuration("rabbitmq-env.conf"),
		"RABBITMQ_CONFIG_FILE=" + n.configuration("rabbitmq.conf"),
		"RABBITMQ_CONFIG_FILES=" + filepath.Join(n.Folder, "conf.d"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + filepath.Join(n.Folder, "advanced.config"), // does not exist
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + n.configuration("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(n.Folder, "data"),
		"RABBITMQ_LOG_BASE=" + filepath.Join(n.Folder, "logs"),
		"RABBITMQ_DIST_PORT=" + n.distributionPort,
		"ERL_EPMD_PORT=" + n.mapperPort,
		// Erlang would start the port mapper as a daemon that outlives the node.
		"ERL_FLAGS=-start_epmd false",
	}
}

// inherited returns the variables of this process's environment that RabbitMQ's scripts need.
// The scripts interpret many others as settings, such as LOGS and NODENAME (rabbitmq-env).
func inherited() (variables []string) {
	for _, name := range []string{"PATH", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			variables = append(variables, name+"="+value)
		}
	}
	return variables
}

// Programs returns the node's two programs in start order.
func (n *Node) Programs() (mapper, server Program) {
	environment := slices.Concat(inherited(), n.environment())
	mapper = Program{
		Name: "epmd", Path: n.mapper, Address: net.JoinHostPort("127.0.0.1", n.mapperPort),
		Arguments: []string{"-address", "127.0.0.1", "-port", n.mapperPort}, Environment: environment,
	}
	server = Program{
		Name: "broker", Path: n.server, Address: n.Address,
		// RABBITMQ_ALLOW_INPUT makes the script exec Erlang, which then receives SIGTERM
		// itself; -noinput keeps Erlang from reading standard input.
		Environment: append(slices.Clone(environment), "RABBITMQ_ALLOW_INPUT=yes", "RABBITMQ_SERVER_START_ARGS=-noinput"),
		Folder:      n.Folder, // Erlang writes crash dumps here
	}
	return mapper, server
}

// Ping returns nil if the node accepts connections.
func (n *Node) Ping(ctx context.Context) error { return Ping(ctx, n.Address, n.Certificates) }
