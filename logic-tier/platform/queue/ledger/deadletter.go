package ledger

import (
	"encoding/json"
	"errors"
	"time"

	"techtalks.example/logic-tier/platform/queue"
)

// Unroutable is the queue name of dead letters that no binding matched.
const Unroutable = ""

// DeadLetter is a message that was rejected, failed too often, or was unroutable.
type DeadLetter struct {
	Queue                                   string
	ID                                      int64
	Died, Published                         time.Time
	Count                                   int // deliveries
	Exchange, RoutingKey, Type, Traceparent string
	Headers                                 map[string]string
	Error                                   string // of the last delivery
	History                                 []queue.Failure
	Body                                    []byte
}

// ErrDeadLetterNotFound is returned for a dead letter that does not exist, or was
// redriven or discarded.
var ErrDeadLetterNotFound = errors.New("dead letter not found")

// AppendFailure appends f to history and drops the oldest failures beyond
// queue.MaxHistory.
func AppendFailure(history []queue.Failure, f queue.Failure) []queue.Failure {
	history = append(history, f)
	return history[max(0, len(history)-queue.MaxHistory):]
}

// NewFailure returns the failure of a delivery on host.
func NewFailure(host string, d queue.Delivery, err error) queue.Failure {
	return queue.Failure{Count: d.Count, At: time.Now().UTC(), Host: host, Error: queue.ErrorText(err)}
}

// JSON returns v encoded as JSON. It panics if v cannot be encoded; the types of
// this package and of queue always can.
func JSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// PriorityOf returns the priority encoded in a message id by queue.next_id.
func PriorityOf(id int64) int { return int(-(id >> 52)) }
