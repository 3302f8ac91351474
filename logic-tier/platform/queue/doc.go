// Package queue is the asynchronous messaging between modules, with the terms and
// routing rules of AMQP 0-9-1.
//
// A producer publishes a message to an exchange. The exchange stores nothing: it
// routes the message to every queue that has a matching binding, at most once per
// queue. The exchange type decides what matches: a direct exchange compares the
// whole routing key, a topic exchange compares it word by word with wildcards, a
// headers exchange compares the message's headers, and a fanout exchange matches
// every message. A queue stores a message until a consumer acknowledges it. Any
// number of consumers share a queue, and one consumer at a time holds a message.
//
//	producer → exchange → binding → queue → consumer
//
// # Producers
//
// A message is published inside the database transaction that makes it true
// (transactional outbox), so both commit or neither does. Publishing waits neither
// for a consumer nor for a broker. A message that no binding matches is stored as
// a dead letter, where an operator can inspect and redrive it.
//
// # Consumers
//
// A consumer holds up to Prefetch messages and runs up to Concurrency handlers.
// The handler's result settles the message:
//
//   - nil acknowledges it;
//   - an error returns it to the queue, to be redelivered to any consumer after
//     an exponential backoff with jitter;
//   - Reject dead-letters it at once. So does the error of the last delivery
//     within the queue's delivery limit: a poison message does not block the
//     queue.
//
// A lease that its consumer stops renewing expires, and the messages are
// redelivered to other consumers. A live consumer holds a message for as long as
// its handler runs. A consumer that drains fetches nothing more, cancels its
// handlers' contexts and returns what they did not finish, without counting that
// as a delivery.
//
// # Guarantees
//
// Delivery is at least once: a consumer can crash after its effect and before its
// acknowledgement. A handler is then called again for a message that already had
// its effect, and must change nothing. Idempotent turns at-least-once delivery
// into effects that happen once.
//
// Messages of one queue are delivered in the order of publication, higher
// priorities first. Concurrent handlers, redeliveries and delays break that order;
// with one handler at a time and no failure it holds.
//
// # Engines
//
// There are two engines. postgresqueue stores messages in the database of the
// publishing transaction. rabbitqueue stores an outbox there and ships it to
// RabbitMQ. Package queuetest is the conformance suite for both.
package queue
