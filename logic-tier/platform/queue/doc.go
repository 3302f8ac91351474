// Package queue lets programs tell each other things without waiting for each
// other, in the words of AMQP 0-9-1.
//
// A producer publishes a message to an exchange. The exchange keeps nothing: it
// compares the message with its bindings, each of which leads to a queue, and
// adds the message to every queue that a binding matches, once each. How it
// compares is the exchange's type: a direct exchange takes the routing key as it
// is, a topic exchange word by word with wildcards, a headers exchange looks at
// the message's headers instead, and a fanout exchange matches always. A queue
// keeps a message until one of its consumers has worked it and acknowledged it;
// then it is deleted. Any number of consumers share a queue, and each message is
// with one of them at a time.
//
//	producer → exchange → binding → queue → consumer
//
// # Producers
//
// A message is published inside the database transaction that makes it true (an
// outbox), so the two are there together or not at all. Publishing waits for no
// consumer and for no broker. A message that no binding matches is not lost: it
// is kept among the dead letters, where somebody sees it.
//
// # Consumers
//
// A consumer is handed up to its prefetch of messages ahead, and works so many
// side by side as its concurrency says. Its handler's answer settles a message:
//
//   - nil acknowledges it;
//   - an error puts it back, to be delivered again after a pause that grows with
//     every delivery (exponential backoff with jitter), to any consumer;
//   - Reject sends it to the dead letters, and so does the delivery after which
//     the queue's delivery limit is reached: a poison message blocks nobody.
//
// A consumer that dies is noticed within its lease, and its messages go to
// others; one that lives keeps a message for as long as the work takes. One that
// drains takes no more, ends its handlers' contexts, and puts back what they did
// not finish without counting it as a delivery.
//
// # What is promised
//
// A message is delivered at least once: a consumer may die after its work and
// before its acknowledgement. So a handler is called again for a message whose
// effect is there already, and must then change nothing; Idempotent says how.
// Then every effect is there once.
//
// Messages of one queue are handed out in the order they were published, those
// of a higher priority first. Handlers that run side by side, redeliveries and
// delays overtake; with one handler at a time and no failure the order is kept.
//
// # Engines
//
// Two engines do this: postgresqueue keeps messages in the database that the
// transaction is in, and rabbitqueue keeps an outbox there and ships it to
// RabbitMQ. The package queuetest holds both to the same behaviour.
package queue
