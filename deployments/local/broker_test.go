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

// standaloneBroker is the RabbitMQ of a site, without its tiers.
type standaloneBroker struct {
	site
	node    *broker.Node
	t       *testing.T
	running []*process
}

func newStandaloneBroker(t *testing.T) *standaloneBroker {
	t.Helper()
	root, err := source.Tree()
	if err != nil {
		t.Fatal(err)
	}
	address := localtest.FreeAddress(t)
	s := site{root: root, runDir: localtest.Folder(t), engine: engine{local: true, address: address, url: "amqps://" + address + "/techtalks"}}
	if err := os.MkdirAll(filepath.Join(s.runDir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := certificates.Issue(s.certificates(), nil); err != nil {
		t.Fatal(err)
	}
	n, err := s.node()
	if err != nil {
		t.Fatal(err)
	}
	b := &standaloneBroker{site: s, node: n, t: t}
	t.Cleanup(b.stop)
	return b
}

func (b *standaloneBroker) start() error {
	for _, p := range b.brokerProcesses(b.node) {
		b.running = append(b.running, p)
		if err := p.start(b.t.Context()); err != nil {
			return err
		}
	}
	return nil
}

// stop stops the broker as a site does, and waits until all of its processes have exited.
func (b *standaloneBroker) stop() {
	for _, p := range slices.Backward(b.running) {
		p.stop()
	}
	b.running = nil
	localtest.AwaitBrokerExit(b.t, b.runDir)
}

// connect authenticates with the certificate of a program. If program is empty, it presents
// none.
func (b *standaloneBroker) connect(program string) (*amqp.Connection, error) {
	b.t.Helper()
	authority, err := os.ReadFile(filepath.Join(b.certificates(), "ca.crt"))
	if err != nil {
		b.t.Fatal(err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(authority)
	if program != "" {
		certificate, err := tls.LoadX509KeyPair(filepath.Join(b.certificates(), program+".crt"), filepath.Join(b.certificates(), program+".key"))
		if err != nil {
			b.t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	connection, err := amqp.DialTLS_ExternalAuth(b.engine.url, config)
	if err == nil {
		b.t.Cleanup(func() { _ = connection.Close() })
	}
	return connection, err
}

func (b *standaloneBroker) channel() *amqp.Channel {
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

// publish publishes a message to a quorum queue and waits for the broker's confirmation.
func (b *standaloneBroker) publish(body string) {
	b.t.Helper()
	channel := b.channel()
	if err := channel.Confirm(false); err != nil {
		b.t.Fatal(err)
	}
	if _, err := channel.QueueDeclare("test", true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		b.t.Fatal(err)
	}
	confirmation, err := channel.PublishWithDeferredConfirmWithContext(b.t.Context(), "", "test", true, false, amqp.Publishing{Body: []byte(body)})
	if err != nil {
		b.t.Fatal(err)
	}
	if confirmed, err := confirmation.WaitContext(b.t.Context()); err != nil || !confirmed {
		b.t.Fatalf("publish: confirmed %t, %v", confirmed, err)
	}
}

// get removes the next message from the queue and returns its body.
func (b *standaloneBroker) get() string {
	b.t.Helper()
	channel := b.channel()
	// After a restart the queue is empty until it has elected a leader.
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		got, found, err := channel.Get("test", true)
		if err != nil {
			b.t.Fatal(err)
		}
		if found {
			return string(got.Body)
		}
		if time.Now().After(deadline) {
			b.t.Fatal("the queue is empty")
		}
	}
}

func TestBrokersOfTwoSitesAreIndependent(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	one, other := newStandaloneBroker(t), newStandaloneBroker(t)
	var both sync.WaitGroup
	for _, b := range []*standaloneBroker{one, other} {
		both.Go(func() {
			if err := b.start(); err != nil {
				t.Error(err)
			}
		})
	}
	if both.Wait(); t.Failed() {
		return
	}
	t.Run("each stores its own messages", func(t *testing.T) {
		one.publish("for one")
		other.publish("for other")
		if got := one.get(); got != "for one" {
			t.Errorf("message: got %q, want %q", got, "for one")
		}
	})
	t.Run("only the logic tier can connect", func(t *testing.T) {
		// RabbitMQ delays each rejection by three seconds, against guessing.
		var all sync.WaitGroup
		for _, program := range []string{"web-tier", "operator", "broker"} {
			all.Go(func() {
				if _, err := one.connect(program); !errors.Is(err, amqp.ErrCredentials) {
					t.Errorf("connect as %s: got %v, want %v", program, err, amqp.ErrCredentials)
				}
			})
		}
		all.Wait()
		if _, err := one.connect(""); err == nil || errors.Is(err, amqp.ErrCredentials) {
			t.Errorf("connect without a certificate: got %v, want a TLS error", err)
		}
		if _, err := amqp.Dial(strings.Replace(one.engine.url, "amqps://", "amqp://guest:guest@", 1)); err == nil {
			t.Error("connected without TLS")
		}
	})
	t.Run("a renewed certificate is used immediately", func(t *testing.T) {
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
			t.Error("the broker presents the previous certificate")
		}
	})
	t.Run("rabbitmqctl knows one user", func(t *testing.T) {
		output, err := exec.CommandContext(t.Context(), one.binary("rabbitmqctl"), "--silent", "list_users").CombinedOutput()
		if err != nil || strings.TrimSpace(string(output)) != "logic-tier\t[]" {
			t.Errorf("%v\n%s", err, output)
		}
	})
	t.Run("messages survive a restart", func(t *testing.T) {
		one.publish("durable")
		one.stop()
		if err := one.start(); err != nil {
			t.Fatal(err)
		}
		if got := one.get(); got != "durable" {
			t.Errorf("message after the restart: got %q, want %q", got, "durable")
		}
		if got := other.get(); got != "for other" {
			t.Errorf("message of the other broker: got %q, want %q", got, "for other")
		}
	})
}

// With the queue in RabbitMQ a site behaves as with Postgres, also while RabbitMQ is
// unavailable. When the supervisor is killed, no process remains.
func TestJourneyWithTheQueueInRabbitMQ(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	r := localtest.Up(t, localtest.Folder(t), "BROKER=rabbitmq", "BROKER_ADDRESS="+localtest.FreeAddress(t))
	chromium := journey.Chromium(t)
	t.Run("a talk reaches a follower", func(t *testing.T) { journey.Walk(t, chromium, r.URL) })
	t.Run("long work", func(t *testing.T) { journey.LongWork(t, chromium, r.URL) })
	t.Run("RabbitMQ is killed", func(t *testing.T) {
		ada, grace := journey.Browser(t, chromium, r.URL), journey.Browser(t, chromium, r.URL)
		ada.SignUp("ada")
		channel := ada.CreateChannel("Restarts")
		grace.SignUp("grace")
		grace.Follow(channel)
		for pid := range localtest.BrokerProcesses(t, r.Run) {
			// Some exit together with others.
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Fatal(err)
			}
		}
		ada.Publish(channel, "Published without RabbitMQ")
		grace.Open("/inbox")
		grace.WaitForTexts("#inbox h3", "Published without RabbitMQ")
	})
	t.Run("the supervisor is killed", func(t *testing.T) {
		if !slices.Contains(slices.Collect(maps.Values(localtest.BrokerProcesses(t, r.Run))), "beam.smp") {
			t.Fatal("RabbitMQ does not run")
		}
		r.KillSupervisor()
	})
}

func TestNewEngineValidatesBroker(t *testing.T) {
	for value, want := range map[string]string{
		"":                                "",
		"rabbitmq":                        "amqps://127.0.0.1:56710/techtalks",
		"amqp://u:p@rabbit.internal/v":    "amqp://u:p@rabbit.internal/v",
		"amqps://rabbit.internal:5671/tt": "amqps://rabbit.internal:5671/tt",
	} {
		t.Setenv("BROKER", value)
		if e, err := newEngine(); err != nil || e.url != want || e.local != (value == "rabbitmq") {
			t.Errorf("BROKER=%q: got %+v, %v; want the URL %q", value, e, err, want)
		}
	}
	for _, value := range []string{"kafka", "RabbitMQ", "postgres", "localhost:5672", "http://localhost"} {
		t.Setenv("BROKER", value)
		_, err := newEngine()
		if err == nil {
			t.Fatalf("BROKER=%q: got no error", value)
		}
		for _, want := range []string{value, "leave it empty", "rabbitmq", "amqps://host:port/vhost"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("BROKER=%q: error %q lacks %q", value, err, want)
			}
		}
	}
}
