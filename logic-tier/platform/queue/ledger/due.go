package ledger

// Due says which messages may be delivered, of a table with available_at and
// delivery_count. A lease, or a pause before a retry, lasts for five minutes at most
// (queue.Consumer, queue.Backoff): one that is longer is from before the clock was set
// back, and is over. A message without a delay is always due (queue.due).
const Due = `(available_at <= now() or delivery_count > 0 and available_at > now() + interval '10 minutes')`
