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

// Node is a RabbitMQ on a host of one's own. It is two programs: Erlang's port mapper,
// which would otherwise stay behind as a daemon, and the node.
type Node struct {
	// Folder is where it keeps everything.
	Folder string
	// Address is the host:port that it answers on.
	Address string
	// Certificates is a folder with ca.crt, broker.crt and broker.key.
	Certificates string

	configured     string // the folder of this package, with its configuration
	server, mapper string // programs
	// Two ports that nobody needs to know are found anew with each start.
	mapperPort, distributionPort string
}

// Program is how one of a node's programs is started.
type Program struct {
	Name, Path  string
	Address     string // that it answers on
	Arguments   []string
	Environment []string
	Folder      string // that it runs in; empty: anywhere
}

// NewNode finds RabbitMQ on this machine and writes what this node needs into its folder.
// configured is this package's folder in the source tree, and control where a rabbitmqctl
// of this node is to be.
func NewNode(folder, address, certificates, configured, control string) (*Node, error) {
	n := &Node{Folder: folder, Address: address, Certificates: certificates, configured: configured}
	var err error
	if n.server, err = found("rabbitmq-server", "/usr/lib/rabbitmq/bin", "/opt/rabbitmq*/sbin"); err != nil {
		return nil, err
	}
	if n.mapper, err = found("epmd", "/usr/lib/erlang/bin", "/usr/local/lib/erlang/bin"); err != nil {
		return nil, err
	}
	if n.mapperPort, n.distributionPort, err = unusedPorts(); err != nil {
		return nil, err
	}
	return n, n.write(control)
}

// found returns the program name in the first of the folders, which may be patterns,
// that has it, or else on PATH. Debian's rabbitmq-server on PATH only runs as a user
// of its own.
func found(name string, folders ...string) (string, error) {
	for _, folder := range folders {
		if paths, _ := filepath.Glob(filepath.Join(folder, name)); len(paths) > 0 {
			return paths[len(paths)-1], nil
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("RabbitMQ is missing (%w): run deployments/local/install.sh rabbitmq, or leave BROKER empty", err)
	}
	return path, nil
}

// unusedPorts returns two ports of this machine that no program listens on.
func unusedPorts() (one, other string, err error) {
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

// write writes what differs from node to node, beside what is in this package's folder.
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
	// rabbitmqctl of this node, whatever ports it has today.
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

// writeCookie makes the secret by which rabbitmqctl is let in: Erlang would make a
// weaker one, and takes none that others may read.
func (n *Node) writeCookie() error {
	path := filepath.Join(n.Folder, ".erlang.cookie")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	made := path + ".new"
	// What an interrupted start left cannot be written to.
	if err := os.Remove(made); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(made, []byte(rand.Text()), 0o400); err != nil {
		return err
	}
	return os.Rename(made, path)
}

func (n *Node) configuration(name string) string {
	return filepath.Join(n.configured, name)
}

// environment is what RabbitMQ's programs are told of this node.
func (n *Node) environment() []string {
	return []string{
		"HOME=" + n.Folder,
		"LANG=C.UTF-8",
		"RABBITMQ_CONF_ENV_FILE=" + n.configuration("rabbitmq-env.conf"),
		"RABBITMQ_CONFIG_FILE=" + n.configuration("rabbitmq.conf"),
		"RABBITMQ_CONFIG_FILES=" + filepath.Join(n.Folder, "conf.d"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + filepath.Join(n.Folder, "advanced.config"), // there is none
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + n.configuration("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(n.Folder, "data"),
		"RABBITMQ_LOG_BASE=" + filepath.Join(n.Folder, "logs"),
		"RABBITMQ_DIST_PORT=" + n.distributionPort,
		"ERL_EPMD_PORT=" + n.mapperPort,
		// The port mapper is ours to start: Erlang would leave a daemon behind.
		"ERL_FLAGS=-start_epmd false",
	}
}

// inherited returns what RabbitMQ's scripts need of this process's environment. They would
// take many other variables for settings, LOGS and NODENAME among them (rabbitmq-env).
func inherited() (variables []string) {
	for _, name := range []string{"PATH", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			variables = append(variables, name+"="+value)
		}
	}
	return variables
}

// Programs are the node's two programs in the order in which they start.
func (n *Node) Programs() (mapper, server Program) {
	environment := slices.Concat(inherited(), n.environment())
	mapper = Program{
		Name: "epmd", Path: n.mapper, Address: net.JoinHostPort("127.0.0.1", n.mapperPort),
		Arguments: []string{"-address", "127.0.0.1", "-port", n.mapperPort}, Environment: environment,
	}
	server = Program{
		Name: "broker", Path: n.server, Address: n.Address,
		// As if with a terminal, which it then does not read: so Erlang takes the place
		// of the script that starts it, and hears itself when it is to stop.
		Environment: append(slices.Clone(environment), "RABBITMQ_ALLOW_INPUT=yes", "RABBITMQ_SERVER_START_ARGS=-noinput"),
		Folder:      n.Folder, // where it leaves what it says when it crashes
	}
	return mapper, server
}

// Answers returns nil when the node takes connections.
func (n *Node) Answers(ctx context.Context) error { return Answers(ctx, n.Address, n.Certificates) }
