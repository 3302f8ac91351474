package rabbitqueue_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/rabbitqueue"
)

// copied returns a folder with the certificates, some of them those of others.
func copied(t *testing.T, from string, instead map[string]string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"ca.crt", "logic-tier.crt", "logic-tier.key"} {
		source := filepath.Join(from, name)
		if other, has := instead[name]; has {
			source = other
		}
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// stranger makes a certificate that only itself vouches for.
func stranger(t *testing.T) (certificate, key string) {
	t.Helper()
	folder := t.TempDir()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "logic-tier"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	made, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(folder, "crt"), filepath.Join(folder, "key")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: made}, key: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func TestABrokerThatRefusesIsSaidAtOnce(t *testing.T) {
	s := newSite(t)
	all := s.options().Certificates
	strangersCertificate, strangersKey := stranger(t)
	_, securePort, err := net.SplitHostPort(s.broker.Address())
	if err != nil {
		t.Fatal(err)
	}
	s.broker.Evaluate(`rabbit_vhost:add(<<"closed">>, <<"test">>)`)
	for what, c := range map[string]struct{ url, certificates, says string }{
		"a wrong password":    {"amqp://tester:wrong@" + s.broker.PlainAddress() + "/" + s.broker.VirtualHost, all, `refuses the user "tester"`},
		"no such user":        {"amqp://nobody:wrong@" + s.broker.PlainAddress() + "/" + s.broker.VirtualHost, all, `refuses the user "nobody"`},
		"no virtual host":     {s.broker.URL() + "-none", all, `rabbitmqctl add_vhost ` + s.broker.VirtualHost + "-none"},
		"a closed host":       {"amqps://" + s.broker.Address() + "/closed", all, `rabbitmqctl set_permissions --vhost closed`},
		"no TLS there":        {"amqps://" + s.broker.PlainAddress() + "/" + s.broker.VirtualHost, all, "does not speak TLS on this port"},
		"another name":        {"amqps://0.0.0.0:" + securePort + "/" + s.broker.VirtualHost, all, "a certificate for other names"},
		"another authority":   {s.broker.URL(), copied(t, all, map[string]string{"ca.crt": strangersCertificate}), "a certificate of another authority"},
		"unknown to RabbitMQ": {s.broker.URL(), copied(t, all, map[string]string{"logic-tier.crt": strangersCertificate, "logic-tier.key": strangersKey}), "refuses the certificate"},
		"nobody's certificate": {s.broker.URL(), copied(t, all, map[string]string{
			"logic-tier.crt": filepath.Join(all, "operator.crt"), "logic-tier.key": filepath.Join(all, "operator.key"),
		}), "knows no user by the certificate"},
	} {
		t.Run(what, func(t *testing.T) {
			o := s.options()
			o.URL, o.Certificates = c.url, c.certificates
			err := s.make(o).Declare(t.Context(), one(0))
			if err == nil || !queue.IsPermanent(err) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want it to say %q, for good", err, c.says)
			}
		})
	}
}

func TestAPasswordLogsIn(t *testing.T) {
	s := newSite(t)
	for what, url := range map[string]string{
		"without TLS":                            s.broker.PasswordURL(),
		"with TLS":                               strings.Replace(strings.Replace(s.broker.PasswordURL(), "amqp:", "amqps:", 1), s.broker.PlainAddress(), s.broker.Address(), 1),
		"at the host of a cluster that is there": strings.Replace(s.broker.PasswordURL(), s.broker.PlainAddress(), "127.0.0.1:1,"+s.broker.PlainAddress(), 1),
	} {
		o := s.options()
		o.URL = url
		if err := s.make(o).Declare(t.Context(), one(0)); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if s.said.has("is away")() {
		t.Error(s.said)
	}
}

func TestATopologyThatDiffersFromTheBrokersIsRefused(t *testing.T) {
	s := newSite(t)
	raw := s.raw()
	if _, err := raw.QueueDeclare("work", true, false, false, false, amqp.Table{"x-queue-type": "classic"}); err != nil {
		t.Fatal(err)
	}
	if err := raw.ExchangeDeclare("other", "direct", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		topology queue.Topology
		says     string
	}{
		"a queue":                 {one(0), `queue "work" is there in RabbitMQ and differs`},
		"an exchange":             {queue.Topology{Exchanges: []queue.Exchange{{Name: "other", Type: queue.Topic}}}, `exchange "other" is there in RabbitMQ and differs`},
		"RabbitMQ's own":          {queue.Topology{Exchanges: []queue.Exchange{{Name: "amq.mine", Type: queue.Topic}}}, `does not let this user have exchange "amq.mine"`},
		"the dead letters' queue": {queue.Topology{Queues: []queue.Queue{{Name: rabbitqueue.DeadLetters}}}, "declare another name"},
	} {
		err := s.another().Declare(t.Context(), c.topology)
		if err == nil || !queue.IsPermanent(err) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v; want it to say %q, for good", what, err, c.says)
		}
	}
	// Who was refused is not in the way of others.
	s.declare(queue.Topology{
		Exchanges: []queue.Exchange{{Name: "good", Type: queue.Fanout}},
		Queues:    []queue.Queue{{Name: "good", Bindings: []queue.Binding{{Exchange: "good"}}}},
	})
	var got notes
	s.run(s.engine.Run)
	s.consume(s.engine, queue.Consumer{Queue: "good", Handle: got.handle})
	if err := s.tryPublish(queue.Message{Exchange: "good"}, "x"); err != nil {
		t.Fatal(err)
	}
	s.until("a message of another queue", got.has(1))
}

func TestWhatAMQPCannotCarryIsRefused(t *testing.T) {
	s := newSite(t)
	s.declare(one(0))
	for says, m := range map[string]queue.Message{
		"type of 256 bytes: use at most 255":          {Exchange: "work", Type: strings.Repeat("t", 256)},
		"header's name of 300 bytes: use at most 254": {Exchange: "work", Headers: map[string]string{strings.Repeat("h", 300): ""}},
	} {
		if err := s.tryPublish(m, "x"); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v; want it to say %q", err, says)
		}
	}
	// One that is in the outbox all the same is in nobody's way.
	s.publish("first", "too long", "last")
	s.exec(`update queue.outbox set type = repeat('t', 256) where id = (select id from queue.outbox order by id offset 1 limit 1)`)
	var got notes
	s.run(s.engine.Run)
	s.consume(s.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	s.until("the others", got.holds("first", "last"))
	if letter := s.letter(""); !strings.Contains(letter.Error, "RabbitMQ cannot carry it: type of 256 bytes") {
		t.Errorf("the dead letter says %q", letter.Error)
	}
}

// Names that mean something to RabbitMQ are a message's own all the same.
func TestHeadersWithRabbitMQsNames(t *testing.T) {
	s := newSite(t)
	headers := map[string]string{"CC": "work", "x-match": "any", "x-kind": "talk", "_x-kind": "no", "traceparent": "mine", "plain": "yes"}
	s.declare(queue.Topology{
		Exchanges: []queue.Exchange{{Name: "h", Type: queue.Headers}},
		Queues: []queue.Queue{
			{Name: "matches", Bindings: []queue.Binding{{Exchange: "h", Headers: map[string]string{"x-kind": "talk", "CC": "work"}}}},
			{Name: "differs", Bindings: []queue.Binding{{Exchange: "h", Headers: map[string]string{"x-kind": "channel"}}}},
		},
	})
	var got, other notes
	s.run(s.engine.Run)
	s.consume(s.engine, queue.Consumer{Queue: "matches", Handle: got.handle})
	s.consume(s.engine, queue.Consumer{Queue: "differs", Handle: other.handle})
	if err := s.tryPublish(queue.Message{Exchange: "h", Headers: headers}, "x"); err != nil {
		t.Fatal(err)
	}
	s.until("the message", got.has(1))
	if d := got.all()[0]; fmt.Sprint(d.Headers) != fmt.Sprint(headers) || d.Traceparent != "" {
		t.Errorf("it came with %v and the trace %q, want %v", d.Headers, d.Traceparent, headers)
	}
	if len(other.all()) > 0 {
		t.Error("it came to a queue whose binding asks for another value")
	}
}
