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

// ofBare is the share of a bare client's throughput that ours is to have.
const ofBare = 0.9

// bareWindow bounds what the bare client has published and not yet seen
// confirmed, as ours bounds it.
const bareWindow = 2_000

// carried is what one of the two did, a value a round: messages a second.
type carried struct{ ship, drain, both []float64 }

func (c *carried) add(n int, shipping, draining time.Duration) {
	c.ship = append(c.ship, float64(n)/shipping.Seconds())
	c.drain = append(c.drain, float64(n)/draining.Seconds())
	c.both = append(c.both, float64(n)/(shipping+draining).Seconds())
}

// measureRabbitMQ has our engine and a bare client carry the same messages in
// turn. RabbitMQ is that of a site of its own; the outbox is in the Postgres of
// the site that is measured.
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
	defer debug.SetGCPercent(debug.SetGCPercent(tierGarbage))
	err = b.carry(ctx, data, "amqps://"+address+"/techtalks", broker.certificates())
	return errors.Join(err, broker.stop())
}

func (b *bench) carry(ctx context.Context, data *site, url, certificates string) error {
	db, err := data.superuser(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	n := b.size(queueMessages, 2_000)
	bare := bareClient{url: url, certificates: certificates}
	var ours, theirs carried
	for range b.runs {
		if err := data.settle(ctx); err != nil {
			return err
		}
		shipping, draining, err := data.carryOurs(ctx, db, n, url, certificates)
		if err != nil {
			return fmt.Errorf("TechTalks: %w", err)
		}
		ours.add(n, shipping, draining)
		if shipping, draining, err = bare.carry(ctx, n); err != nil {
			return fmt.Errorf("bare amqp091-go: %w", err)
		}
		theirs.add(n, shipping, draining)
	}
	b.table("rabbitmq", "amqp091-go, from memory",
		faster("from the outbox to confirmed, messages a second", ours.ship, theirs.ship, 0),
		faster(fmt.Sprintf("from RabbitMQ to acknowledged, %d workers", queueWorkers), ours.drain, theirs.drain, 0),
		faster("the whole way, one after the other", ours.both, theirs.both, ofBare))
	return nil
}

// carryOurs has n messages shipped that are committed to the outbox at once, and
// then handled.
func (s *site) carryOurs(ctx context.Context, db *sql.DB, n int, url, certificates string) (shipping, draining time.Duration, err error) {
	m, err := s.module(ctx, func(db *postgres.DB, listen postgres.Options, log *slog.Logger) (queue.Broker, error) {
		return rabbitqueue.New(rabbitqueue.Options{URL: url, Certificates: certificates, DB: db, Listen: listen, Log: log})
	})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, m.close()) }()
	m.run(ctx)
	// A first one, so that everybody is connected.
	if err := m.publishWith(ctx, 0); err != nil {
		return 0, 0, err
	}
	if err := outboxEmpty(ctx, db); err != nil {
		return 0, 0, err
	}
	bodies := make([]int64, n-1)
	if err := m.publishWith(ctx, bodies...); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := outboxEmpty(ctx, db); err != nil {
		return 0, 0, err
	}
	shipping = time.Since(began)
	draining, err = drain(ctx, n, m.consume)
	return shipping, draining, err
}

// outboxEmpty waits until everything is shipped and confirmed.
func outboxEmpty(ctx context.Context, db *sql.DB) error {
	ctx, done := context.WithTimeout(ctx, 2*time.Minute)
	defer done()
	for left := true; left; time.Sleep(5 * time.Millisecond) {
		if err := db.QueryRowContext(ctx, `select exists (select from queue.outbox)`).Scan(&left); err != nil {
			return fmt.Errorf("ship: %w", err)
		}
	}
	return nil
}

// drain handles n messages that are there, and returns how long it took from the
// first in a handler until the consumer had acknowledged the last and was gone.
func drain(ctx context.Context, n int, consume consume) (time.Duration, error) {
	first, stop, err := handleAll(ctx, n, consume)
	if err != nil {
		return 0, err
	}
	err = stop()
	return time.Since(first), err
}

// bareClient is amqp091-go and nothing around it, which publishes what it has in
// memory: the same messages through an exchange of the same type to a quorum queue,
// publisher confirms, acknowledgements by hand, as many at once as ours.
type bareClient struct{ url, certificates string }

const bareQueue = "bench.bare"

func (c bareClient) dial() (*amqp.Connection, error) {
	own, err := tls.LoadX509KeyPair(filepath.Join(c.certificates, "logic-tier.crt"), filepath.Join(c.certificates, "logic-tier.key"))
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
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own}, RootCAs: roots},
	})
}

// carry publishes and then handles n messages.
func (c bareClient) carry(ctx context.Context, n int) (shipping, draining time.Duration, err error) {
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
	onWay := make(chan *amqp.DeferredConfirmation, bareWindow)
	failed := make(chan error, 1)
	go func() {
		for confirmation := range onWay {
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
		case onWay <- confirmation:
		case err := <-failed:
			return err
		}
	}
	close(onWay)
	return <-failed
}

// consume acknowledges each message by itself.
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
					panic(err) // it is this program's own
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
