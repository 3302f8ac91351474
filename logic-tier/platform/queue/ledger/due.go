package ledger

// DueCondition is the SQL condition of a row that can be delivered, for tables with
// available_at and delivery_count. Leases and retry backoffs last at most 5 minutes
// (queue.Consumer, queue.Backoff). A longer one dates from before the clock was set
// back, and counts as expired. A message without a delay is always due (queue.due).
const DueCondition = `(available_at <= now() or delivery_count > 0 and available_at > now() + interval '10 minutes')`
