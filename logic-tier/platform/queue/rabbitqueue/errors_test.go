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

// copyCertificates returns a copy of a certificate directory in which some files are
// replaced by others.
func copyCertificates(t *testing.T, directory string, replacements map[string]string) string {
	t.Helper()
	result := t.TempDir()
	for _, name := range []string{"ca.crt", "logic-tier.crt", "logic-tier.key"} {
		source := filepath.Join(directory, name)
		if replacement, ok := replacements[name]; ok {
			source = replacement
		}
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(result, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return result
}

// createSelfSigned creates a self-signed certificate.
func createSelfSigned(t *testing.T) (certificate, key string) {
	t.Helper()
	directory := t.TempDir()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "logic-tier"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(directory, "crt"), filepath.Join(directory, "key")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: encoded}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func TestDeclareFailsAtOnceWhenBrokerRejectsConnection(t *testing.T) {
	f := newFixture(t)
	valid := f.options().Certificates
	selfSignedCertificate, selfSignedKey := createSelfSigned(t)
	_, securePort, err := net.SplitHostPort(f.broker.Address())
	if err != nil {
		t.Fatal(err)
	}
	f.broker.Evaluate(`rabbit_vhost:add(<<"closed">>, <<"test">>)`)
	for name, c := range map[string]struct{ url, certificates, want string }{
		"wrong password":                            {"amqp://tester:wrong@" + f.broker.PlainAddress() + "/" + f.broker.VirtualHost, valid, `rejects the login of user "tester"`},
		"unknown user":                              {"amqp://nobody:wrong@" + f.broker.PlainAddress() + "/" + f.broker.VirtualHost, valid, `rejects the login of user "nobody"`},
		"unknown virtual host":                      {f.broker.URL() + "-none", valid, `rabbitmqctl add_vhost ` + f.broker.VirtualHost + "-none"},
		"virtual host without permission":           {"amqps://" + f.broker.Address() + "/closed", valid, `rabbitmqctl set_permissions --vhost closed`},
		"port without TLS":                          {"amqps://" + f.broker.PlainAddress() + "/" + f.broker.VirtualHost, valid, "does not speak TLS on this port"},
		"certificate for other host name":           {"amqps://0.0.0.0:" + securePort + "/" + f.broker.VirtualHost, valid, "a certificate for other host names"},
		"broker certificate from another authority": {f.broker.URL(), copyCertificates(t, valid, map[string]string{"ca.crt": selfSignedCertificate}), "a certificate from another authority"},
		"client certificate from another authority": {f.broker.URL(), copyCertificates(t, valid, map[string]string{"logic-tier.crt": selfSignedCertificate, "logic-tier.key": selfSignedKey}), "rejects the certificate"},
		"client certificate without a user": {f.broker.URL(), copyCertificates(t, valid, map[string]string{
			"logic-tier.crt": filepath.Join(valid, "operator.crt"), "logic-tier.key": filepath.Join(valid, "operator.key"),
		}), "has no user for the certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			o := f.options()
			o.URL, o.Certificates = c.url, c.certificates
			err := f.newQueue(o).Declare(t.Context(), workTopology(0))
			if err == nil || !queue.IsPermanent(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want a permanent one with %q", err, c.want)
			}
		})
	}
}

func TestDeclareLogsInByPassword(t *testing.T) {
	f := newFixture(t)
	for name, url := range map[string]string{
		"without TLS":                     f.broker.PasswordURL(),
		"with TLS":                        strings.Replace(strings.Replace(f.broker.PasswordURL(), "amqp:", "amqps:", 1), f.broker.PlainAddress(), f.broker.Address(), 1),
		"one host of the cluster is down": strings.Replace(f.broker.PasswordURL(), f.broker.PlainAddress(), "127.0.0.1:1,"+f.broker.PlainAddress(), 1),
	} {
		o := f.options()
		o.URL = url
		if err := f.newQueue(o).Declare(t.Context(), workTopology(0)); err != nil {
			t.Errorf("%s: got error %v, want none", name, err)
		}
	}
	if f.logs.contains("is unavailable")() {
		t.Errorf("got log %s, want no outage", f.logs)
	}
}

func TestDeclareRejectsTopologyThatDiffersFromBroker(t *testing.T) {
	f := newFixture(t)
	channel := f.rawChannel()
	if _, err := channel.QueueDeclare("work", true, false, false, false, amqp.Table{"x-queue-type": "classic"}); err != nil {
		t.Fatal(err)
	}
	if err := channel.ExchangeDeclare("other", "direct", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		topology queue.Topology
		want     string
	}{
		"queue of another type":              {workTopology(0), `queue "work" exists in RabbitMQ and differs`},
		"exchange of another type":           {queue.Topology{Exchanges: []queue.Exchange{{Name: "other", Type: queue.Topic}}}, `exchange "other" exists in RabbitMQ and differs`},
		"exchange name reserved by RabbitMQ": {queue.Topology{Exchanges: []queue.Exchange{{Name: "amq.mine", Type: queue.Topic}}}, `denies this user exchange "amq.mine"`},
		"queue name reserved by the engine":  {queue.Topology{Queues: []queue.Queue{{Name: rabbitqueue.DeadLetterQueue}}}, "declare another name"},
	} {
		err := f.newProcess().Declare(t.Context(), c.topology)
		if err == nil || !queue.IsPermanent(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want a permanent one with %q", name, err, c.want)
		}
	}
	// The rejected declarations do not affect others.
	f.declare(queue.Topology{
		Exchanges: []queue.Exchange{{Name: "good", Type: queue.Fanout}},
		Queues:    []queue.Queue{{Name: "good", Bindings: []queue.Binding{{Exchange: "good"}}}},
	})
	var got recorder
	f.run(f.engine.Run)
	f.consume(f.engine, queue.Consumer{Queue: "good", Handle: got.handle})
	if err := f.tryPublish(queue.Message{Exchange: "good"}, "x"); err != nil {
		t.Fatal(err)
	}
	f.waitFor("a message of another queue", got.hasAtLeast(1))
}

func TestMessageBeyondAMQPLimitsIsRejected(t *testing.T) {
	f := newFixture(t)
	f.declare(workTopology(0))
	for want, m := range map[string]queue.Message{
		"type of 256 bytes: use at most 255":        {Exchange: "work", Type: strings.Repeat("t", 256)},
		"header name of 300 bytes: use at most 254": {Exchange: "work", Headers: map[string]string{strings.Repeat("h", 300): ""}},
	} {
		if err := f.tryPublish(m, "x"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got error %v, want one with %q", err, want)
		}
	}
	// Such a message in the outbox does not block the others.
	f.publish("first", "too long", "last")
	f.exec(`update queue.outbox set type = repeat('t', 256) where id = (select id from queue.outbox order by id offset 1 limit 1)`)
	var got recorder
	f.run(f.engine.Run)
	f.consume(f.engine, queue.Consumer{Queue: "work", Handle: got.handle})
	f.waitFor("the other messages", got.hasAll("first", "last"))
	if letter := f.waitDeadLetter(""); !strings.Contains(letter.Error, "message exceeds a limit of RabbitMQ: type of 256 bytes") {
		t.Errorf("got dead letter error %q, want it to name the limit", letter.Error)
	}
}

func TestHeadersWithNamesReservedByRabbitMQAreDelivered(t *testing.T) {
	f := newFixture(t)
	headers := map[string]string{"CC": "work", "x-match": "any", "x-kind": "talk", "_x-kind": "no", "traceparent": "mine", "plain": "yes"}
	f.declare(queue.Topology{
		Exchanges: []queue.Exchange{{Name: "h", Type: queue.Headers}},
		Queues: []queue.Queue{
			{Name: "matches", Bindings: []queue.Binding{{Exchange: "h", Headers: map[string]string{"x-kind": "talk", "CC": "work"}}}},
			{Name: "differs", Bindings: []queue.Binding{{Exchange: "h", Headers: map[string]string{"x-kind": "channel"}}}},
		},
	})
	var got, other recorder
	f.run(f.engine.Run)
	f.consume(f.engine, queue.Consumer{Queue: "matches", Handle: got.handle})
	f.consume(f.engine, queue.Consumer{Queue: "differs", Handle: other.handle})
	if err := f.tryPublish(queue.Message{Exchange: "h", Headers: headers}, "x"); err != nil {
		t.Fatal(err)
	}
	f.waitFor("the message", got.hasAtLeast(1))
	if d := got.deliveries()[0]; fmt.Sprint(d.Headers) != fmt.Sprint(headers) || d.Traceparent != "" {
		t.Errorf("got headers %v and trace %q, want %v and no trace", d.Headers, d.Traceparent, headers)
	}
	if len(other.deliveries()) > 0 {
		t.Error("a queue whose binding requires another header value received the message")
	}
}
