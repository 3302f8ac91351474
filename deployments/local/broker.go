package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
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

// node is the site's own RabbitMQ, which is two programs: Erlang's port mapper,
// which would otherwise stay behind as a daemon, and the node.
type node struct {
	site
	folder         string
	server, mapper string // programs
	// Two ports that nobody needs to know are found anew with each start.
	mapperPort, distributionPort int
}

func (s site) node() (*node, error) {
	n := &node{site: s, folder: filepath.Join(s.run, "broker")}
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
	return n, n.write()
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

// unusedPorts returns two ports of this machine that nobody listens on.
func unusedPorts() (one, other int, err error) {
	var ports [2]int
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, 0, err
		}
		defer listener.Close()
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports[0], ports[1], nil
}

// write writes what differs from site to site, beside what is in deployments/broker.
func (n *node) write() error {
	if err := os.MkdirAll(filepath.Join(n.folder, "conf.d"), 0o755); err != nil {
		return err
	}
	settings := fmt.Sprintf(`listeners.ssl.default = %s
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
load_definitions = %s
`, n.engine.address, filepath.Join(n.certificates(), "ca.crt"), filepath.Join(n.certificates(), "broker.crt"),
		filepath.Join(n.certificates(), "broker.key"), n.configuration("definitions.json"))
	if err := os.WriteFile(filepath.Join(n.folder, "conf.d", "site.conf"), []byte(settings), 0o644); err != nil {
		return err
	}
	// rabbitmqctl of this site's node, whatever ports it has today.
	script := "#!/bin/sh\n"
	for _, setting := range n.environment() {
		name, value, _ := strings.Cut(setting, "=")
		script += fmt.Sprintf("export %s='%s'\n", name, value)
	}
	script += fmt.Sprintf("exec '%s' \"$@\"\n", filepath.Join(filepath.Dir(n.server), "rabbitmqctl"))
	if err := os.WriteFile(n.binary("rabbitmqctl"), []byte(script), 0o755); err != nil {
		return err
	}
	return n.writeCookie()
}

// writeCookie makes the secret by which rabbitmqctl is let in: Erlang would make a
// weaker one, and takes none that others may read.
func (n *node) writeCookie() error {
	path := filepath.Join(n.folder, ".erlang.cookie")
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

func (n *node) configuration(name string) string {
	return filepath.Join(n.root, "deployments", "broker", name)
}

// environment is what RabbitMQ's programs are told of this site.
func (n *node) environment() []string {
	return []string{
		"HOME=" + n.folder,
		"LANG=C.UTF-8",
		"RABBITMQ_CONF_ENV_FILE=" + n.configuration("rabbitmq-env.conf"),
		"RABBITMQ_CONFIG_FILE=" + n.configuration("rabbitmq.conf"),
		"RABBITMQ_CONFIG_FILES=" + filepath.Join(n.folder, "conf.d"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + filepath.Join(n.folder, "advanced.config"), // there is none
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + n.configuration("enabled_plugins"),
		"RABBITMQ_MNESIA_BASE=" + filepath.Join(n.folder, "data"),
		"RABBITMQ_LOG_BASE=" + filepath.Join(n.folder, "logs"),
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(n.distributionPort),
		"ERL_EPMD_PORT=" + strconv.Itoa(n.mapperPort),
		// The port mapper is ours to start: Erlang would leave a daemon behind.
		"ERL_FLAGS=-start_epmd false",
	}
}

// inherited is this process' environment without what would change RabbitMQ.
func inherited() (clean []string) {
	for _, setting := range os.Environ() {
		if !strings.HasPrefix(setting, "RABBITMQ_") && !strings.HasPrefix(setting, "ERL_") {
			clean = append(clean, setting)
		}
	}
	return clean
}

// tiers are the node's two programs in the order in which they start.
func (n *node) tiers() []*tier {
	mapperAddress := net.JoinHostPort("127.0.0.1", strconv.Itoa(n.mapperPort))
	mapper := n.process("epmd", mapperAddress, n.mapper, takesConnections, "-address", "127.0.0.1", "-port", strconv.Itoa(n.mapperPort))
	mapper.environment = slices.Concat(inherited(), n.environment())
	server := n.process("broker", n.engine.address, n.server, n.answers)
	// As if with a terminal, which it then does not read: so Erlang takes the place
	// of the script that starts it, and hears itself when it is to stop.
	server.environment = append(mapper.environment, "RABBITMQ_ALLOW_INPUT=yes", "RABBITMQ_SERVER_START_ARGS=-noinput")
	server.folder = n.folder // where it leaves what it says when it crashes
	return []*tier{mapper, server}
}

func (n *node) answers(ctx context.Context, _ *tier) error {
	return broker.Answers(ctx, n.engine.address, n.certificates())
}

func takesConnections(ctx context.Context, t *tier) error {
	var dialer net.Dialer
	connection, err := dialer.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return err
	}
	return connection.Close()
}
