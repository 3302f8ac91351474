package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/deployments/broker"
	"techtalks.example/deployments/certificates"
	"techtalks.example/deployments/journey"
	"techtalks.example/deployments/local/localtest"
	"techtalks.example/deployments/source"
)

// standing is a site's RabbitMQ without its tiers.
type standing struct {
	site
	node    *broker.Node
	t       *testing.T
	running []*tier
}

func stand(t *testing.T) *standing {
	t.Helper()
	root, err := source.Tree()
	if err != nil {
		t.Fatal(err)
	}
	address := localtest.Free(t)
	s := site{root: root, run: localtest.Folder(t), engine: engine{own: true, address: address, url: "amqps://" + address + "/techtalks"}}
	if err := os.MkdirAll(filepath.Join(s.run, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := certificates.Issue(s.certificates(), nil); err != nil {
		t.Fatal(err)
	}
	n, err := s.node()
	if err != nil {
		t.Fatal(err)
	}
	b := &standing{site: s, node: n, t: t}
	t.Cleanup(b.stop)
	return b
}

func (b *standing) start() error {
	for _, one := range b.brokerTiers(b.node) {
		b.running = append(b.running, one)
		if err := one.start(b.t.Context()); err != nil {
			return err
		}
	}
	return nil
}

// stop stops it as a site does; nothing of it may be left.
func (b *standing) stop() {
	for _, one := range slices.Backward(b.running) {
		one.stop()
	}
	b.running = nil
	localtest.AwaitBrokerEnd(b.t, b.run)
}

// connect logs in as program by its certificate; without one when it is empty.
func (b *standing) connect(program string) (*amqp.Connection, error) {
	b.t.Helper()
	authority, err := os.ReadFile(filepath.Join(b.certificates(), "ca.crt"))
	if err != nil {
		b.t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(authority)
	if program != "" {
		own, err := tls.LoadX509KeyPair(filepath.Join(b.certificates(), program+".crt"), filepath.Join(b.certificates(), program+".key"))
		if err != nil {
			b.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	connection, err := amqp.DialTLS_ExternalAuth(b.engine.url, config)
	if err == nil {
		b.t.Cleanup(func() { _ = connection.Close() })
	}
	return connection, err
}

func (b *standing) channel() *amqp.Channel {
	b.t.Helper()
	connection, err := b.connect("logic-tier")
	if err != nil {
		b.t.Fatal(err)
	}
	channel, err := connection.Channel()
	if err != nil {
		b.t.Fatal(err)
	}
	return channel
}

// keep publishes a message to a quorum queue, and waits until it is kept.
func (b *standing) keep(body string) {
	b.t.Helper()
	channel := b.channel()
	if err := channel.Confirm(false); err != nil {
		b.t.Fatal(err)
	}
	if _, err := channel.QueueDeclare("kept", true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		b.t.Fatal(err)
	}
	confirmation, err := channel.PublishWithDeferredConfirmWithContext(b.t.Context(), "", "kept", true, false, amqp.Publishing{Body: []byte(body)})
	if err != nil {
		b.t.Fatal(err)
	}
	if confirmed, err := confirmation.WaitContext(b.t.Context()); err != nil || !confirmed {
		b.t.Fatalf("confirmed: %v, %v", confirmed, err)
	}
}

// kept takes it out again.
func (b *standing) kept() string {
	b.t.Helper()
	channel := b.channel()
	// After a start the queue needs a moment to elect its leader.
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		got, found, err := channel.Get("kept", true)
		if err != nil {
			b.t.Fatal(err)
		}
		if found {
			return string(got.Body)
		}
		if time.Now().After(deadline) {
			b.t.Fatal("there is nothing in the queue")
		}
	}
}

func TestTheBrokersOfTwoSites(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	one, other := stand(t), stand(t)
	var both sync.WaitGroup
	for _, b := range []*standing{one, other} {
		both.Go(func() {
			if err := b.start(); err != nil {
				t.Error(err)
			}
		})
	}
	if both.Wait(); t.Failed() {
		return
	}
	t.Run("each keeps its own", func(t *testing.T) {
		one.keep("of the one")
		other.keep("of the other")
		if got := one.kept(); got != "of the one" {
			t.Errorf("the one keeps %q", got)
		}
	})
	t.Run("only the logic tier gets in", func(t *testing.T) {
		// RabbitMQ takes three seconds to say no, lest somebody guesses.
		var all sync.WaitGroup
		for _, program := range []string{"web-tier", "operator", "broker"} {
			all.Go(func() {
				if _, err := one.connect(program); !errors.Is(err, amqp.ErrCredentials) {
					t.Errorf("%s: %v", program, err)
				}
			})
		}
		all.Wait()
		if _, err := one.connect(""); err == nil || errors.Is(err, amqp.ErrCredentials) {
			t.Errorf("without a certificate: %v", err)
		}
		if _, err := amqp.Dial(strings.Replace(one.engine.url, "amqps://", "amqp://guest:guest@", 1)); err == nil {
			t.Error("without TLS somebody gets in")
		}
	})
	t.Run("a renewed certificate is used at once", func(t *testing.T) {
		serial := func() string {
			connection, err := one.connect("logic-tier")
			if err != nil {
				t.Fatal(err)
			}
			return connection.ConnectionState().PeerCertificates[0].SerialNumber.String()
		}
		before := serial()
		if err := os.Remove(filepath.Join(one.certificates(), "broker.crt")); err != nil {
			t.Fatal(err)
		}
		if _, err := certificates.Issue(one.certificates(), nil); err != nil {
			t.Fatal(err)
		}
		if serial() == before {
			t.Error("it serves with the old one")
		}
	})
	t.Run("rabbitmqctl knows one user", func(t *testing.T) {
		output, err := exec.CommandContext(t.Context(), one.binary("rabbitmqctl"), "--silent", "list_users").CombinedOutput()
		if err != nil || strings.TrimSpace(string(output)) != "logic-tier\t[]" {
			t.Errorf("%v\n%s", err, output)
		}
	})
	t.Run("one starts again with what it kept", func(t *testing.T) {
		one.keep("over the night")
		one.stop()
		if err := one.start(); err != nil {
			t.Fatal(err)
		}
		if got := one.kept(); got != "over the night" {
			t.Errorf("it kept %q", got)
		}
		if got := other.kept(); got != "of the other" {
			t.Errorf("the other keeps %q", got)
		}
	})
}

// With the queue in RabbitMQ a site does what it does with it in Postgres, also while
// RabbitMQ is away; and should "make up" itself be killed, nothing of it is left.
func TestJourneyWithTheQueueInRabbitMQ(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	r := localtest.Up(t, localtest.Folder(t), "BROKER=rabbitmq", "BROKER_ADDRESS="+localtest.Free(t))
	chromium := journey.Chromium(t)
	t.Run("a talk reaches a follower", func(t *testing.T) { journey.Walk(t, chromium, r.URL) })
	t.Run("long work", func(t *testing.T) { journey.LongWork(t, chromium, r.URL) })
	t.Run("RabbitMQ dies", func(t *testing.T) {
		ada, grace := journey.Browser(t, chromium, r.URL), journey.Browser(t, chromium, r.URL)
		ada.SignUp("ada")
		channel := ada.CreateChannel("Restarts")
		grace.SignUp("grace")
		grace.Follow(channel)
		for pid := range localtest.BrokerProcesses(t, r.Run) {
			// Some end with others.
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
		ada.Publish(channel, "Published meanwhile")
		grace.Open("/inbox")
		grace.WaitForTexts("#inbox h3", "Published meanwhile")
	})
	t.Run("all is killed", func(t *testing.T) {
		if !slices.Contains(slices.Collect(maps.Values(localtest.BrokerProcesses(t, r.Run))), "beam.smp") {
			t.Fatal("there is no RabbitMQ")
		}
		r.KillSupervisor()
	})
}

func TestBrokerSaysWhatItMayBe(t *testing.T) {
	for value, want := range map[string]string{
		"":                                "",
		"rabbitmq":                        "amqps://127.0.0.1:56710/techtalks",
		"amqp://u:p@rabbit.internal/v":    "amqp://u:p@rabbit.internal/v",
		"amqps://rabbit.internal:5671/tt": "amqps://rabbit.internal:5671/tt",
	} {
		t.Setenv("BROKER", value)
		if e, err := newEngine(); err != nil || e.url != want || e.own != (value == "rabbitmq") {
			t.Errorf("%q is %+v, %v", value, e, err)
		}
	}
	for _, value := range []string{"kafka", "RabbitMQ", "postgres", "localhost:5672", "http://localhost"} {
		t.Setenv("BROKER", value)
		_, err := newEngine()
		if err == nil {
			t.Fatalf("%q is taken", value)
		}
		for _, named := range []string{value, "nothing", "rabbitmq", "amqps://host:port/vhost"} {
			if !strings.Contains(err.Error(), named) {
				t.Errorf("%q: %v does not name %s", value, err, named)
			}
		}
	}
}
