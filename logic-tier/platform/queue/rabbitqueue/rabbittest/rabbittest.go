// Package rabbittest gives tests a real RabbitMQ: a node of its own, configured
// as deployments/broker says. A package's tests share one; each of them gets a
// virtual host as new.
package rabbittest

import (
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"
)

// What tests log in as by password, which the product's own configuration knows
// no way to.
const (
	User     = "tester"
	Password = "p@ss/word"
)

// evaluateTimeout bounds an expression's evaluation by the node.
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

// New makes a virtual host. The first call of a test program starts the node,
// with certificates as deployments/certificates makes them.
func New(t testing.TB, certificates string) *Broker {
	t.Helper()
	shared.once.Do(func() { shared.node, shared.err = newNode(certificates) })
	if shared.err != nil {
		t.Fatalf("RabbitMQ does not start: %v", shared.err)
	}
	b := &Broker{t: t, node: shared.node}
	// A test before may have left it stopped.
	b.Start()
	b.VirtualHost = b.node.nextVirtualHost()
	b.AddVirtualHost()
	// Each that is left makes the node's next start longer.
	t.Cleanup(func() { _ = b.deleteVirtualHost() })
	return b
}

// AddVirtualHost makes the virtual host, where it was deleted.
func (b *Broker) AddVirtualHost() {
	b.t.Helper()
	b.Evaluate(fmt.Sprintf(`rabbit_vhost:add(<<"%s">>, <<"test">>)`, b.VirtualHost))
	for _, user := range []string{"logic-tier", User} {
		b.Evaluate(fmt.Sprintf(`rabbit_auth_backend_internal:set_permissions(<<"%s">>, <<"%s">>, <<".*">>, <<".*">>, <<".*">>, <<"test">>)`, user, b.VirtualHost))
	}
}

// DeleteVirtualHost deletes the virtual host with all that is in it, and ends the
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

// URL is the way in by certificate.
func (b *Broker) URL() string {
	return fmt.Sprintf("amqps://%s/%s", b.node.address, b.VirtualHost)
}

// PasswordURL is the way in by password, without TLS.
func (b *Broker) PasswordURL() string {
	u := url.URL{Scheme: "amqp", User: url.UserPassword(User, Password), Host: b.node.plainAddress, Path: "/" + b.VirtualHost}
	return u.String()
}

// Address is host:port of the node's TLS port.
func (b *Broker) Address() string { return b.node.address }

// PlainAddress is host:port of the node's port without TLS.
func (b *Broker) PlainAddress() string { return b.node.plainAddress }

// Kill ends the node at once, for all tests.
func (b *Broker) Kill() {
	b.t.Helper()
	// RabbitMQ notes with a delay of half a second which quorum queues it has made,
	// and one that is killed before has such a queue for ever without a leader. No
	// test is about that.
	b.Evaluate("[dets:sync(Table) || Table <- dets:all()]")
	b.node.kill()
}

// Start starts the node where it is not running, with what it kept, and waits
// until it takes connections.
func (b *Broker) Start() {
	b.t.Helper()
	if err := b.node.start(); err != nil {
		b.t.Fatalf("RabbitMQ does not start: %v", err)
	}
}

// Evaluate has the node evaluate an Erlang expression, and returns the result as
// Erlang writes it.
func (b *Broker) Evaluate(expression string) string {
	b.t.Helper()
	result, err := b.node.evaluate(expression)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// SetPolicy applies a policy, an object in JSON, to all queues of the virtual
// host: what an operator may do whatever a program declares.
func (b *Broker) SetPolicy(definition string) {
	b.t.Helper()
	b.Evaluate(fmt.Sprintf(`rabbit_policy:parse_set(<<"%s">>, <<"test">>, <<".*">>, <<%q>>, <<"0">>, <<"queues">>, <<"test">>)`, b.VirtualHost, definition))
}

// SetAlarm has the node say that it is out of memory, or that it no longer is:
// then it takes no messages.
func (b *Broker) SetAlarm(on bool) {
	b.t.Helper()
	function := "clear_alarm"
	alarm := "{resource_limit, memory, node()}"
	if on {
		function, alarm = "set_alarm", "{"+alarm+", []}"
	}
	b.Evaluate(fmt.Sprintf("rabbit_alarm:%s(%s)", function, alarm))
}
