package ledger

import (
	"encoding/json"
	"errors"
	"time"

	"techtalks.example/logic-tier/platform/queue"
)

// Unroutable is the queue of dead letters that no binding matched.
const Unroutable = ""

// Letter is a dead letter.
type Letter struct {
	Queue                                   string
	ID                                      int64
	Died, Published                         time.Time
	Count                                   int
	Exchange, RoutingKey, Type, Traceparent string
	Headers                                 map[string]string
	Error                                   string
	History                                 []queue.Failure
	Body                                    []byte
}

// ErrNoLetter: the dead letter is not there, or not any more.
var ErrNoLetter = errors.New("no such dead letter")

// History returns history with one more failure, bounded.
func History(history []queue.Failure, f queue.Failure) []queue.Failure {
	history = append(history, f)
	return history[max(0, len(history)-queue.MaxHistory):]
}

// NewFailure returns the failure of a delivery on host.
func NewFailure(host string, d queue.Delivery, err error) queue.Failure {
	return queue.Failure{Count: d.Count, At: time.Now().UTC(), Host: host, Error: queue.ErrorText(err)}
}

// JSON returns v encoded; v is of this package's or queue's types, which always
// encode.
func JSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}

// PriorityOf returns the priority that is in a message's id, as queue.next_id
// made it.
func PriorityOf(id int64) int { return int(-(id >> 52)) }
