// Package rabbittest runs a real RabbitMQ node for tests, with the configuration of
// deployments/broker. The tests of a package share one node, and each test gets a
// new virtual host.
package rabbittest

import (
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"
)

// User and Password are the credentials for login by password, which the deployed
// configuration does not allow.
const (
	User     = "tester"
	Password = "p@ss/word"
)

// evaluateTimeout bounds the evaluation of an expression by the node.
const evaluateTimeout = 30 * time.Second

var shared struct {
	once sync.Once
	node *node
	err  error
}

// Broker is a virtual host of the node, for one test.
type Broker struct {
	t    testing.TB
	node *node
	// VirtualHost is its name.
	VirtualHost string
}

// New adds a virtual host. The first call of a test program starts the node, with
// certificates as deployments/certificates creates them.
func New(t testing.TB, certificates string) *Broker {
	t.Helper()
	shared.once.Do(func() { shared.node, shared.err = newNode(certificates) })
	if shared.err != nil {
		t.Fatalf("start RabbitMQ: %v", shared.err)
	}
	b := &Broker{t: t, node: shared.node}
	// A previous test can have left the node stopped.
	b.Start()
	b.VirtualHost = b.node.nextVirtualHost()
	b.AddVirtualHost()
	// Every remaining virtual host slows down the node's next start.
	t.Cleanup(func() { _ = b.deleteVirtualHost() })
	return b
}

// AddVirtualHost adds the virtual host, also after DeleteVirtualHost.
func (b *Broker) AddVirtualHost() {
	b.t.Helper()
	b.Evaluate(fmt.Sprintf(`rabbit_vhost:add(<<"%s">>, <<"test">>)`, b.VirtualHost))
	for _, user := range []string{"logic-tier", User} {
		b.Evaluate(fmt.Sprintf(`rabbit_auth_backend_internal:set_permissions(<<"%s">>, <<"%s">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)`, user, b.VirtualHost))
	}
}

// DeleteVirtualHost deletes the virtual host with everything in it, and closes the
// connections to it.
func (b *Broker) DeleteVirtualHost() {
	b.t.Helper()
	if err := b.deleteVirtualHost(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *Broker) deleteVirtualHost() error {
	_, err := b.node.evaluate(fmt.Sprintf(`rabbit_vhost:delete(<<"%s">>, <<"test">>)`, b.VirtualHost))
	return err
}

// URL returns the URL for login by certificate.
func (b *Broker) URL() string {
	return fmt.Sprintf("amqps://%s/%s", b.node.address, b.VirtualHost)
}

// PasswordURL returns the URL for login by password, without TLS.
func (b *Broker) PasswordURL() string {
	u := url.URL{Scheme: "amqp", User: url.UserPassword(User, Password), Host: b.node.plainAddress, Path: "/" + b.VirtualHost}
	return u.String()
}

// Address returns host:port of the node's TLS port.
func (b *Broker) Address() string { return b.node.address }

// PlainAddress returns host:port of the node's port without TLS.
func (b *Broker) PlainAddress() string { return b.node.plainAddress }

// Kill kills the node, for all tests.
func (b *Broker) Kill() {
	b.t.Helper()
	// RabbitMQ writes the names of new quorum queues to disk with a delay of half a
	// second. If it is killed before, such a queue never has a leader again. No test is
	// about that.
	b.Evaluate("[dets:sync(Table) || Table <- dets:all()]")
	b.node.kill()
}

// Start starts the node with its stored data, unless it is running, and waits until
// it is ready.
func (b *Broker) Start() {
	b.t.Helper()
	if err := b.node.start(); err != nil {
		b.t.Fatalf("start RabbitMQ: %v", err)
	}
}

// Evaluate evaluates an Erlang expression on the node, and returns the result in
// Erlang syntax.
func (b *Broker) Evaluate(expression string) string {
	b.t.Helper()
	result, err := b.node.evaluate(expression)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// SetPolicy applies a policy, a JSON object, to all queues of the virtual host, as an
// operator can whatever a program declares.
func (b *Broker) SetPolicy(definition string) {
	b.t.Helper()
	b.Evaluate(fmt.Sprintf(`rabbit_policy:parse_set(<<"%s">>, <<"test">>, <<".*">>, <<%q>>, <<"0">>, <<"queues">>, <<"test">>)`, b.VirtualHost, definition))
}

// SetAlarm sets or clears the node's memory alarm. While it is set, the node blocks
// publishers.
func (b *Broker) SetAlarm(on bool) {
	b.t.Helper()
	function := "clear_alarm"
	alarm := "{resource_limit, memory, node()}"
	if on {
		function, alarm = "set_alarm", "{"+alarm+", []}"
	}
	b.Evaluate(fmt.Sprintf("rabbit_alarm:%s(%s)", function, alarm))
}
