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

// node is a RabbitMQ with all that it keeps in one folder. It ends with the test
// program, however that ends, and its folder goes with it.
type node struct {
	folder        string
	configuration string // deployments/broker
	server        string // programs
	mapper        string
	caller        string // erl_call
	certificates  string
	cookie        string

	address, plainAddress        string
	mapperPort, distributionPort string

	mu        sync.Mutex
	broker    *process
	portNames *process
	handed    int
	cleaner   *exec.Cmd
}

func newNode(certificates string) (*node, error) {
	n := &node{certificates: certificates, cookie: rand.Text()}
	for _, step := range []func() error{n.find, n.makeFolder, n.choosePorts, n.configure} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return n, n.start()
}

// find finds RabbitMQ's programs and the product's configuration of it.
func (n *node) find() error {
	output, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	n.configuration = filepath.Join(filepath.Dir(filepath.Dir(strings.TrimSpace(string(output)))), "deployments", "broker")
	if n.server, err = serverProgram(); err != nil {
		return err
	}
	if n.mapper, err = exec.LookPath("epmd"); err != nil {
		return err
	}
	found, _ := filepath.Glob("/usr/lib/erlang/lib/erl_interface-*/bin/erl_call")
	if len(found) == 0 {
		return errors.New("erl_call is missing, which is part of Erlang")
	}
	n.caller = found[len(found)-1]
	return nil
}

// programSetting names the server of another RabbitMQ than the one installed, to
// hold the engine to that version.
const programSetting = "RABBITMQ_SERVER_PROGRAM"

func serverProgram() (string, error) {
	if program := os.Getenv(programSetting); program != "" {
		return program, nil
	}
	// Debian's program on PATH only runs as a user of its own.
	for _, pattern := range []string{"/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq*/sbin/rabbitmq-server"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	program, err := exec.LookPath("rabbitmq-server")
	if err != nil {
		return "", fmt.Errorf("RabbitMQ is missing (%w): run deployments/local/install.sh rabbitmq", err)
	}
	return program, nil
}

// makeFolder makes the folder, and starts who removes it when this process is
// gone: a pipe from it ends then, whatever ended it.
func (n *node) makeFolder() (err error) {
	if n.folder, err = os.MkdirTemp("", "techtalks-rabbit-"); err != nil {
		return err
	}
	// The node is killed at the same moment and may still write.
	n.cleaner = exec.Command("/bin/sh", "-c", `cat >/dev/null; until rm -rf "$0"; do sleep 0.1; done`, n.folder)
	// Who interrupts the tests at a terminal does not mean this.
	n.cleaner.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The pipe's end stays with the command, and so is open as long as this process.
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
	n.mapperPort, n.distributionPort = ports[2], ports[3]
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

// configure writes the product's configuration with this node's addresses, a port
// without TLS, logins by password, and virtual hosts for the tests.
func (n *node) configure() error {
	product, err := os.ReadFile(filepath.Join(n.configuration, "rabbitmq.conf"))
	if err != nil {
		return err
	}
	settings := strings.Replace(string(product), "listeners.tcp = none", "listeners.tcp.default = "+n.plainAddress, 1)
	for key, value := range map[string]string{
		"listeners.ssl.default":  n.address,
		"ssl_options.cacertfile": filepath.Join(n.certificates, "ca.crt"),
		"ssl_options.certfile":   filepath.Join(n.certificates, "broker.crt"),
		"ssl_options.keyfile":    filepath.Join(n.certificates, "broker.key"),
		"load_definitions":       filepath.Join(n.folder, "definitions.json"),
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
		// Erlang takes no cookie that others may read.
		if err := os.WriteFile(filepath.Join(n.folder, name), content, 0o400); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) definitions() ([]byte, error) {
	product, err := os.ReadFile(filepath.Join(n.configuration, "definitions.json"))
	if err != nil {
		return nil, err
	}
	var all map[string][]map[string]any
	if err := json.Unmarshal(product, &all); err != nil {
		return nil, fmt.Errorf("definitions.json: %w", err)
	}
	all["users"] = append(all["users"], map[string]any{"name": User, "password": Password, "tags": []string{}})
	return json.Marshal(all)
}

// nextVirtualHost returns a name that no test had.
func (n *node) nextVirtualHost() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handed++
	return fmt.Sprintf("test-%d", n.handed)
}

// evaluate does what rabbitmqctl's eval does, which starts an Erlang machine of
// its own for that.
func (n *node) evaluate(expression string) (string, error) {
	ctx, done := context.WithTimeout(context.Background(), evaluateTimeout)
	defer done()
	var output []byte
	var err error
	for refused := true; refused && ctx.Err() == nil; {
		command := exec.CommandContext(ctx, n.caller, "-e", "-address", "127.0.0.1:"+n.distributionPort, "-c", n.cookie)
		command.Env = n.environment()
		command.Stdin = strings.NewReader(expression + ".\n")
		output, err = command.CombinedOutput()
		// A node takes one caller at a time by the name that erl_call gives itself; so
		// far it has evaluated nothing.
		if refused = err != nil && bytes.Contains(output, []byte("failed to connect to node")); refused {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", expression, err, output)
	}
	result, isResult := strings.CutPrefix(string(output), "{ok, ")
	if !isResult {
		return "", fmt.Errorf("%s: %s", expression, output)
	}
	return strings.TrimSuffix(strings.TrimSpace(result), "}"), nil
}

// environment returns the environment of RabbitMQ's programs: this node's settings, and
// nothing else of this process's, in which RabbitMQ's scripts would find others.
func (n *node) environment() (all []string) {
	for _, name := range []string{"PATH", "TMPDIR"} {
		if value, ok := os.LookupEnv(name); ok {
			all = append(all, name+"="+value)
		}
	}
	return append(all,
		"HOME="+n.folder,
		"LANG=C.UTF-8",
		"RABBITMQ_CONF_ENV_FILE="+filepath.Join(n.configuration, "rabbitmq-env.conf"),
		"RABBITMQ_CONFIG_FILE="+filepath.Join(n.folder, "rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+filepath.Join(n.folder, "advanced.config"), // there is none
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(n.configuration, "enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(n.folder, "data"),
		"RABBITMQ_LOG_BASE="+filepath.Join(n.folder, "logs"),
		"RABBITMQ_DIST_PORT="+n.distributionPort,
		"ERL_EPMD_PORT="+n.mapperPort,
		// The port mapper is ours to start: Erlang would leave a daemon behind.
		"ERL_FLAGS=-start_epmd false",
		"ERL_CRASH_DUMP="+filepath.Join(n.folder, "erl_crash.dump"),
		// The server in the place of its shell, so that it is the server who is
		// killed: as if with a terminal, which it then does not read.
		"RABBITMQ_ALLOW_INPUT=yes", "RABBITMQ_SERVER_START_ARGS=-noinput",
	)
}

// start starts what is not running and waits until it takes connections.
func (n *node) start() (err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.portNames == nil {
		if n.portNames, err = run(n.environment(), n.mapper, "-address", "127.0.0.1", "-port", n.mapperPort); err != nil {
			return err
		}
	}
	if n.broker == nil {
		if n.broker, err = run(n.environment(), n.server); err != nil {
			return err
		}
	}
	for deadline := time.Now().Add(startTimeout); ; time.Sleep(50 * time.Millisecond) {
		if err = n.answers(); err == nil {
			return nil
		}
		select {
		case <-n.broker.ended:
			said := n.broker.said()
			n.broker = nil
			return fmt.Errorf("it ended at once\n%s", said)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("it does not answer: %w\n%s", err, n.broker.said())
		}
	}
}

// answers returns nil when the node takes a TLS connection, which it does once
// everything else is ready.
func (n *node) answers() error {
	authority, err := os.ReadFile(filepath.Join(n.certificates, "ca.crt"))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	own, err := tls.LoadX509KeyPair(filepath.Join(n.certificates, "logic-tier.crt"), filepath.Join(n.certificates, "logic-tier.key"))
	if err != nil {
		return err
	}
	connection, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", n.address,
		&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{own}})
	if err != nil {
		return err
	}
	return connection.Close()
}

// kill ends the server at once.
func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.broker != nil {
		n.broker.kill()
		n.broker = nil
	}
}

// process is a program that ends with this one.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
	over    chan struct{} // closed when it was killed
	output  tail
}

func run(environment []string, program string, arguments ...string) (*process, error) {
	p := &process{command: exec.Command(program, arguments...), ended: make(chan struct{}), over: make(chan struct{})}
	p.command.Env = environment
	p.command.Stdout, p.command.Stderr = &p.output, &p.output
	// When a test program is killed, its node goes with it: the kernel signals it
	// when the thread that started it ends, so that thread stays.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- p.command.Start()
		<-p.over
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	go func() {
		_ = p.command.Wait()
		close(p.ended)
	}()
	return p, nil
}

func (p *process) kill() {
	_ = p.command.Process.Kill()
	<-p.ended
	close(p.over)
}

func (p *process) said() string { return p.output.String() }

// tailBytes is how much of what a process says is kept, for when it fails.
const tailBytes = 16 << 10

type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(b)
	if extra := t.text.Len() - tailBytes; extra > 0 {
		t.text.Next(extra)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
