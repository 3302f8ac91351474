package inspection

import (
	"context"
	"time"

	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
)

// store stores test messages and their deliveries.
type store struct{ db *postgres.DB }

type testMessage struct {
	sent    time.Time
	request []byte // an encoded queuepb.SendTestMessageRequest
}

const addTestMessageStatement = `
insert into queue.test_message (id, request)
values ($1, $2)`

func (s store) addTestMessage(ctx context.Context, tx *postgres.Tx, id int64, request []byte) error {
	_, err := postgres.Exec(ctx, tx, addTestMessageStatement, id, request)
	return err
}

const findTestMessageStatement = `
select sent_at, request
from   queue.test_message
where  id = $1`

func (s store) findTestMessage(ctx context.Context, id int64) (testMessage, error) {
	m, found, err := postgres.One(ctx, s.db, func(columns func(...any) error) (m testMessage, err error) {
		err = columns(&m.sent, &m.request)
		return m, err
	}, findTestMessageStatement, id)
	if err == nil && !found {
		err = errTestMessageNotFound
	}
	return m, err
}

// addDeliveryStatement does nothing if the test message was swept.
const addDeliveryStatement = `
insert into queue.test_delivery (message_id, queue, delivery_count, host, process, outcome)
select id, $2, $3, $4, $5, $6
from   queue.test_message
where  id = $1
on conflict do nothing`

func (s store) addDelivery(ctx context.Context, d queue.Delivery, host, process, outcome string) error {
	_, err := postgres.Exec(ctx, s.db, addDeliveryStatement, d.ID, d.Queue, d.Count, host, process, outcome)
	return err
}

// delivery is a delivery of a test message.
type delivery struct {
	queue, host, process, outcome string
	count                         int
	at                            time.Time
}

// The limit exceeds the deliveries that a message can have: the sum of its queues'
// delivery limits, times the number of processes.
const deliveriesStatement = `
select queue, delivery_count, host, process, outcome, delivered_at
from   queue.test_delivery
where  message_id = $1
order by delivered_at, queue, delivery_count, process
limit  1000`

func (s store) deliveries(ctx context.Context, id int64) ([]delivery, error) {
	return postgres.Collect(ctx, s.db, func(columns func(...any) error) (d delivery, err error) {
		err = columns(&d.queue, &d.count, &d.host, &d.process, &d.outcome, &d.at)
		return d, err
	}, deliveriesStatement, id)
}

const sweepTestMessagesStatement = `
delete from queue.test_message
where  sent_at < now() - make_interval(secs => $1)
   or  id in (select id from queue.test_message order by sent_at desc offset $2)`

func (s store) sweepTestMessages(ctx context.Context) error {
	_, err := postgres.Exec(ctx, s.db, sweepTestMessagesStatement, testMessageLifetime.Seconds(), maxTestMessages)
	return err
}
