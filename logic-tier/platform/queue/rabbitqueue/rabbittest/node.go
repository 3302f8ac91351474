package rabbittest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds a start, which takes a few seconds on an idle machine.
const startTimeout = 2 * time.Minute

// node is a RabbitMQ node that stores everything in one directory. It is killed and
// its directory is deleted when the test program exits, even if that is killed.
type node struct {
	directory       string
	configDirectory string // deployments/broker
	serverPath      string // of RabbitMQ's server
	epmdPath        string // of Erlang's port mapper daemon
	erlCallPath     string
	certificates    string // directory
	cookie          string // Erlang's

	address, plainAddress      string // of the ports with and without TLS
	epmdPort, distributionPort string

	mu           sync.Mutex
	server       *process
	epmd         *process
	virtualHosts int // assigned to tests
	cleaner      *exec.Cmd
}

func newNode(certificates string) (*node, error) {
	n := &node{certificates: certificates, cookie: rand.Text()}
	for _, step := range []func() error{n.findPrograms, n.createDirectory, n.choosePorts, n.configure} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return n, n.start()
}

// findPrograms finds RabbitMQ's and Erlang's programs, and deployments/broker.
func (n *node) findPrograms() error {
	output, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	n.configDirectory = filepath.Join(filepath.Dir(filepath.Dir(strings.TrimSpace(string(output)))), "deployments", "broker")
	if n.serverPath, err = findServer(); err != nil {
		return err
	}
	if n.epmdPath, err = exec.LookPath("epmd"); err != nil {
		return err
	}
	found, _ := filepath.Glob("/usr/lib/erlang/lib/erl_interface-*/bin/erl_call")
	if len(found) == 0 {
		return errors.New("erl_call not found: it is part of Erlang; run deployments/local/install.sh rabbitmq")
	}
	n.erlCallPath = found[len(found)-1]
	return nil
}

// serverVariable is the environment variable with the path of another RabbitMQ server
// than the installed one, to test with another version.
const serverVariable = "RABBITMQ_SERVER_PROGRAM"

func findServer() (string, error) {
	if path := os.Getenv(serverVariable); path != "" {
		return path, nil
	}
	// Debian's program on PATH always runs as the user rabbitmq.
	for _, pattern := range []string{"/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq*/sbin/rabbitmq-server"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	path, err := exec.LookPath("rabbitmq-server")
	if err != nil {
		return "", fmt.Errorf("RabbitMQ not found: %w: run deployments/local/install.sh rabbitmq", err)
	}
	return path, nil
}

// createDirectory creates the node's directory, and starts a process that deletes it
// when this process exits. That process reads a pipe, which the kernel closes then.
func (n *node) createDirectory() (err error) {
	if n.directory, err = os.MkdirTemp("", "techtalks-rabbit-"); err != nil {
		return err
	}
	// Retried, because the node is killed at the same moment and can still write.
	n.cleaner = exec.Command("/bin/sh", "-c", `cat >/dev/null; until rm -rf "$0"; do sleep 0.1; done`, n.directory)
	// In a process group of its own, so that Ctrl-C at a terminal does not stop it.
	n.cleaner.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The command keeps its end of the pipe open as long as this process runs.
	if _, err = n.cleaner.StdinPipe(); err != nil {
		return err
	}
	return n.cleaner.Start()
}

func (n *node) choosePorts() error {
	var ports [4]string
	for i := range ports {
		listener, err := listenBelowEphemeral()
		if err != nil {
			return err
		}
		defer listener.Close()
		ports[i] = strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)
	}
	n.address, n.plainAddress = net.JoinHostPort("127.0.0.1", ports[0]), net.JoinHostPort("127.0.0.1", ports[1])
	n.epmdPort, n.distributionPort = ports[2], ports[3]
	return nil
}

// listenBelowEphemeral listens on a random port below the range that Linux assigns to
// outgoing connections, so that none of these takes the port while the node is down.
func listenBelowEphemeral() (listener net.Listener, err error) {
	for range 100 {
		if listener, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(12_000+mathrand.IntN(20_000)))); err == nil {
			return listener, nil
		}
	}
	return nil, err
}

// configure writes the configuration of deployments/broker, with this node's
// addresses, a port without TLS, and login by password.
func (n *node) configure() error {
	deployed, err := os.ReadFile(filepath.Join(n.configDirectory, "rabbitmq.conf"))
	if err != nil {
		return err
	}
	settings := strings.Replace(string(deployed), "listeners.tcp = none", "listeners.tcp.default = "+n.plainAddress, 1)
	for key, value := range map[string]string{
		"listeners.ssl.default":  n.address,
		"ssl_options.cacertfile": filepath.Join(n.certificates, "ca.crt"),
		"ssl_options.certfile":   filepath.Join(n.certificates, "broker.crt"),
		"ssl_options.keyfile":    filepath.Join(n.certificates, "broker.key"),
		"load_definitions":       filepath.Join(n.directory, "definitions.json"),
		"auth_mechanisms.2":      "PLAIN",
	} {
		settings += fmt.Sprintf("%s = %s\n", key, value)
	}
	definitions, err := n.definitions()
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"rabbitmq.conf": []byte(settings), "definitions.json": definitions, ".erlang.cookie": []byte(n.cookie),
	} {
		// Erlang rejects a cookie that other users can read.
		if err := os.WriteFile(filepath.Join(n.directory, name), content, 0o400); err != nil {
			return err
		}
	}
	return nil
}

// definitions returns the definitions of deployments/broker with the user User.
func (n *node) definitions() ([]byte, error) {
	deployed, err := os.ReadFile(filepath.Join(n.configDirectory, "definitions.json"))
	if err != nil {
		return nil, err
	}
	var definitions map[string][]map[string]any
	if err := json.Unmarshal(deployed, &definitions); err != nil {
		return nil, fmt.Errorf("definitions.json: %w", err)
	}
	definitions["users"] = append(definitions["users"], map[string]any{"name": User, "password": Password, "tags": []string{}})
	return json.Marshal(definitions)
}

// nextVirtualHost returns an unused name.
func (n *node) nextVirtualHost() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.virtualHosts++
	return fmt.Sprintf("test-%d", n.virtualHosts)
}

// evaluate evaluates an Erlang expression on the node, as rabbitmqctl eval does, but
// without starting an Erlang VM for each call.
func (n *node) evaluate(expression string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), evaluateTimeout)
	defer cancel()
	var output []byte
	var err error
	for retry := true; retry && ctx.Err() == nil; {
		command := exec.CommandContext(ctx, n.erlCallPath, "-e", "-address", "127.0.0.1:"+n.distributionPort, "-c", n.cookie)
		command.Env = n.environment()
		command.Stdin = strings.NewReader(expression + ".\n")
		output, err = command.CombinedOutput()
		// The node accepts one connection at a time under erl_call's node name. Nothing
		// was evaluated yet, so a retry is safe.
		if retry = err != nil && bytes.Contains(output, []byte("failed to connect to node")); retry {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", expression, err, output)
	}
	result, ok := strings.CutPrefix(string(output), "{ok, ")
	if !ok {
		return "", fmt.Errorf("%s: %s", expression, output)
	}
	return strings.TrimSuffix(strings.TrimSpace(result), "}"), nil
}

// environment returns the environment of RabbitMQ's programs. It contains this node's
// settings and little of this process's environment, which can configure another node.
func (n *node) environment() (variables []string) {
	for _, name := range []string{"PATH", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			variables = append(variables, name+"="+value)
		}
	}
	return append(variables,
		"HOME="+n.directory,
		"LANG=C.UTF-8",
		"RABBITMQ_CONF_ENV_FILE="+filepath.Join(n.configDirectory, "rabbitmq-env.conf"),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(n.directory, "rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+filepath.Join(n.directory, "advanced.config"), // does not exist
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(n.configDirectory, "enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(n.directory, "data"),
		"RABBITMQ_LOG_BASE="+filepath.Join(n.directory, "logs"),
		"RABBITMQ_DIST_PORT="+n.distributionPort,
		"ERL_EPMD_PORT="+n.epmdPort,
		// start runs the port mapper: Erlang would leave a daemon behind.
		"ERL_FLAGS=-start_epmd false",
		"ERL_CRASH_DUMP="+filepath.Join(n.directory, "erl_crash.dump"),
		// Makes the script exec the server, so that kill reaches the server and not only
		// the shell; -noinput keeps the server from reading the terminal.
		"RABBITMQ_ALLOW_INPUT=yes", "RABBITMQ_SERVER_START_ARGS=-noinput",
	)
}

// start starts the port mapper and the server if they are not running, and waits until
// the node is ready.
func (n *node) start() (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.epmd == nil {
		if n.epmd, err = run(n.environment(), n.epmdPath, "-address", "127.0.0.1", "-port", n.epmdPort); err != nil {
			return err
		}
	}
	if n.server == nil {
		if n.server, err = run(n.environment(), n.serverPath); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
		if err = n.checkReady(); err == nil {
			return nil
		}
		select {
		case <-n.server.exited:
			output := n.server.output.String()
			n.server = nil
			return fmt.Errorf("server exited during its start\n%s", output)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready after %s: %w\n%s", startTimeout, err, n.server.output.String())
		}
	}
}

// checkReady returns nil if the node accepts a TLS connection. It opens that port after
// everything else is ready.
func (n *node) checkReady() error {
	authority, err := os.ReadFile(filepath.Join(n.certificates, "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	certificate, err := tls.LoadX509KeyPair(filepath.Join(n.certificates, "logic-tier.crt"), filepath.Join(n.certificates, "logic-tier.key"))
	if err != nil {
		return err
	}
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", n.address,
		&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{certificate}})
	if err != nil {
		return err
	}
	return connection.Close()
}

// kill kills the server.
func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.server != nil {
		n.server.kill()
		n.server = nil
	}
}

// process is a child process that is killed when this process exits.
type process struct {
	command  *exec.Cmd
	exited   chan struct{}
	released chan struct{} // closed when the thread that started it can exit
	output   tailBuffer
}

func run(environment []string, program string, arguments ...string) (*process, error) {
	p := &process{command: exec.Command(program, arguments...), exited: make(chan struct{}), released: make(chan struct{})}
	p.command.Env = environment
	p.command.Stdout, p.command.Stderr = &p.output, &p.output
	// The kernel sends the signal when the thread that started the process exits, so the
	// goroutine below keeps that thread until the process was killed.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- p.command.Start()
		<-p.released
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	go func() {
		_ = p.command.Wait()
		close(p.exited)
	}()
	return p, nil
}

func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.exited
	close(p.released)
}

// tailSize is how many bytes of a process's latest output are kept for error messages.
const tailSize = 16 << 10

// tailBuffer keeps the last tailSize bytes written to it.
type tailBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *tailBuffer) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(b)
	if extra := t.text.Len() - tailSize; extra > 0 {
		t.text.Next(extra)
	}
	return len(b), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
