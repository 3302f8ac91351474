package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/queue/rabbitqueue"
)

// bareClientRatio is the target for our throughput relative to that of a bare client.
const bareClientRatio = 0.9

// bareWindow bounds the unconfirmed messages of the bare client. Our engine has the same bound.
const bareWindow = 2_000

// transferRates are rates in messages a second, one value for each round.
type transferRates struct{ ship, drain, both []float64 }

func (c *transferRates) add(n int, shipping, draining time.Duration) {
	c.ship = append(c.ship, float64(n)/shipping.Seconds())
	c.drain = append(c.drain, float64(n)/draining.Seconds())
	c.both = append(c.both, float64(n)/(shipping+draining).Seconds())
}

// measureRabbitMQ transfers the same messages with our engine and with a bare client in turn. It starts
// a second site for its RabbitMQ; the outbox is in the Postgres of the site to measure.
func measureRabbitMQ(ctx context.Context, b *bench) error {
	data, err := b.running(ctx)
	if err != nil {
		return err
	}
	address, err := freeAddress()
	if err != nil {
		return err
	}
	broker, _, err := b.start(ctx, filepath.Join(b.folder, "rabbitmq"), "BROKER=rabbitmq", "BROKER_ADDRESS="+address)
	if err != nil {
		return err
	}
	defer debug.SetGCPercent(debug.SetGCPercent(tierGCPercent))
	err = b.transfer(ctx, data, "amqps://"+address+"/techtalks", broker.certificates())
	return errors.Join(err, broker.stop())
}

func (b *bench) transfer(ctx context.Context, data *site, url, certificates string) error {
	db, err := data.superuser(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	n := b.size(queueMessages, 2_000)
	bare := bareClient{url: url, certificates: certificates}
	var ours, theirs transferRates
	for range b.runs {
		if err := data.settle(ctx); err != nil {
			return err
		}
		shipping, draining, err := data.transferOurs(ctx, db, n, url, certificates)
		if err != nil {
			return fmt.Errorf("TechTalks: %w", err)
		}
		ours.add(n, shipping, draining)
		if shipping, draining, err = bare.transfer(ctx, n); err != nil {
			return fmt.Errorf("bare amqp091-go: %w", err)
		}
		theirs.add(n, shipping, draining)
	}
	b.table("rabbitmq", "amqp091-go, from memory",
		compareRates("outbox to confirmed, messages a second", ours.ship, theirs.ship, 0),
		compareRates(fmt.Sprintf("RabbitMQ to acknowledged, %d workers", queueWorkers), ours.drain, theirs.drain, 0),
		compareRates("both, one after the other", ours.both, theirs.both, bareClientRatio))
	return nil
}

// transferOurs commits n messages to the outbox at once, waits until they are shipped, and then handles
// them.
func (s *site) transferOurs(ctx context.Context, db *sql.DB, n int, url, certificates string) (shipping, draining time.Duration, err error) {
	m, err := s.module(ctx, func(db *postgres.DB, listen postgres.Options, log *slog.Logger) (queue.Broker, error) {
		return rabbitqueue.New(rabbitqueue.Options{URL: url, Certificates: certificates, DB: db, Listen: listen, Log: log})
	})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	m.run(ctx)
	// A first message establishes all connections.
	if err := m.publishWith(ctx, 0); err != nil {
		return 0, 0, err
	}
	if err := awaitEmptyOutbox(ctx, db); err != nil {
		return 0, 0, err
	}
	bodies := make([]int64, n-1)
	if err := m.publishWith(ctx, bodies...); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := awaitEmptyOutbox(ctx, db); err != nil {
		return 0, 0, err
	}
	shipping = time.Since(began)
	draining, err = drain(ctx, n, m.consume)
	return shipping, draining, err
}

// awaitEmptyOutbox waits until all messages are shipped and confirmed.
func awaitEmptyOutbox(ctx context.Context, db *sql.DB) error {
	ctx, done := context.WithTimeout(ctx, 2*time.Minute)
	defer done()
	for pending := true; pending; time.Sleep(5 * time.Millisecond) {
		if err := db.QueryRowContext(ctx, `select exists (select from queue.outbox)`).Scan(&pending); err != nil {
			return fmt.Errorf("ship: %w", err)
		}
	}
	return nil
}

// drain handles n enqueued messages. It returns the time from the first in a handler until the consumer
// has acknowledged the last and stopped.
func drain(ctx context.Context, n int, consume consume) (time.Duration, error) {
	first, stop, err := handleAll(ctx, n, consume)
	if err != nil {
		return 0, err
	}
	err = stop()
	return time.Since(first), err
}

// bareClient uses amqp091-go directly and publishes from memory: the same messages through an exchange
// of the same type to a quorum queue, with publisher confirms, manual acknowledgements and the
// same prefetch as our engine.
type bareClient struct{ url, certificates string }

const bareQueue = "bench.bare"

func (c bareClient) dial() (*amqp.Connection, error) {
	certificate, err := tls.LoadX509KeyPair(filepath.Join(c.certificates, "logic-tier.crt"), filepath.Join(c.certificates, "logic-tier.key"))
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(filepath.Join(c.certificates, "ca.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	return amqp.DialConfig(c.url, amqp.Config{
		SASL:            []amqp.Authentication{&amqp.ExternalAuth{}},
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, RootCAs: roots},
	})
}

// transfer publishes and then handles n messages.
func (c bareClient) transfer(ctx context.Context, n int) (shipping, draining time.Duration, err error) {
	connection, err := c.dial()
	if err != nil {
		return 0, 0, err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return 0, 0, err
	}
	if err := channel.ExchangeDeclare(bareQueue, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return 0, 0, err
	}
	if _, err := channel.QueueDeclare(bareQueue, true, false, false, false, amqp.Table{"x-queue-type": "quorum"}); err != nil {
		return 0, 0, err
	}
	if err := channel.QueueBind(bareQueue, "bench.published", bareQueue, false, nil); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := c.publish(ctx, channel, n); err != nil {
		return 0, 0, err
	}
	shipping = time.Since(began)
	draining, err = drain(ctx, n, func(_ context.Context, handle func(int64)) (func() error, error) {
		return c.consume(connection, handle)
	})
	return shipping, draining, err
}

func (bareClient) publish(ctx context.Context, channel *amqp.Channel, n int) error {
	if err := channel.Confirm(false); err != nil {
		return err
	}
	unconfirmed := make(chan *amqp.DeferredConfirmation, bareWindow)
	failed := make(chan error, 1)
	go func() {
		for confirmation := range unconfirmed {
			if ok, err := confirmation.WaitContext(ctx); err != nil || !ok {
				failed <- errors.Join(errors.New("not confirmed"), err)
				return
			}
		}
		failed <- nil
	}()
	for i := range n {
		body, err := proto.Marshal(wrapperspb.Int64(int64(i)))
		if err != nil {
			return err
		}
		confirmation, err := channel.PublishWithDeferredConfirm(bareQueue, "bench.published", true, false, amqp.Publishing{
			MessageId: strconv.Itoa(i), Type: "bench.published", ContentType: queue.ContentType, DeliveryMode: amqp.Persistent,
			Timestamp: time.Now(), Headers: amqp.Table{"x-published": time.Now().UnixMicro()}, Body: body,
		})
		if err != nil {
			return err
		}
		select {
		case unconfirmed <- confirmation:
		case err := <-failed:
			return err
		}
	}
	close(unconfirmed)
	return <-failed
}

// consume handles messages and acknowledges each one individually.
func (bareClient) consume(connection *amqp.Connection, handle func(int64)) (func() error, error) {
	channel, err := connection.Channel()
	if err != nil {
		return nil, err
	}
	if err := channel.Qos(queuePrefetch, 0, false); err != nil {
		return nil, err
	}
	deliveries, err := channel.Consume(bareQueue, "bench", false, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	var workers sync.WaitGroup
	for range queueWorkers {
		workers.Go(func() {
			for d := range deliveries {
				var body wrapperspb.Int64Value
				if err := proto.Unmarshal(d.Body, &body); err != nil {
					panic(err) // this program marshalled it
				}
				handle(body.Value)
				_ = d.Ack(false)
			}
		})
	}
	return func() error {
		if err := channel.Cancel("bench", false); err != nil {
			return err
		}
		workers.Wait()
		return channel.Close()
	}, nil
}
