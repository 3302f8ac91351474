package operations

import (
	"crypto/rand"
	"encoding/base32"
	"regexp"
	"strings"
	"time"

	"techtalks.example/logic-tier/platform/apperror"
)

const (
	// retention is how long a finished operation is kept.
	retention = 7 * 24 * time.Hour
	// maxWaiting bounds the undispatched operations of one account; further ones
	// are rejected. Only one operation per account and kind is dispatched at a
	// time, so that an account occupies at most one worker of a queue and its next
	// operation queues behind those of other accounts.
	maxWaiting = 20
	// waitingRetryDelay is the retry delay of a request rejected for maxWaiting.
	// Most operations finish within minutes, and each one frees a slot.
	waitingRetryDelay = 30 * time.Second
	// maxSteps bounds the steps kept per operation.
	maxSteps = 100
)

// state is an operation's state as stored in the database.
type state string

const (
	stateWaiting   state = "waiting"
	stateRunning   state = "running"
	stateSucceeded state = "succeeded"
	stateFailed    state = "failed"
	stateCancelled state = "cancelled"
)

// operation is a row of the operation table.
type operation struct {
	id, kind, title, subject string
	number                   int64
	account                  int64
	state                    state
	dispatched               bool
	cancelRequested          bool
	done, total              int64
	unit                     string
	attempt                  int64
	attemptBegan             time.Time
	attemptDone              int64
	revision                 int64
	response, failure        []byte
	created, started         time.Time
	updated, ended           time.Time
	steps                    []step
}

// step is an entry of an operation's log, shown to users.
type step struct {
	at   time.Time
	text string
}

func (o operation) name() string { return "operations/" + o.id }

// finished reports whether the operation succeeded, failed or was cancelled.
func (o operation) finished() bool { return !o.ended.IsZero() }

// estimatedEnd extrapolates the end time from the average speed of the current
// attempt. It returns the zero time when there is no progress to extrapolate.
func (o operation) estimatedEnd() time.Time {
	elapsed := o.updated.Sub(o.attemptBegan)
	completed := o.done - o.attemptDone
	if o.state != stateRunning || o.total <= 0 || completed <= 0 || elapsed <= 0 || o.done > o.total {
		return time.Time{}
	}
	return o.updated.Add(time.Duration(float64(elapsed) / float64(completed) * float64(o.total-o.done)))
}

// percent returns the progress in per cent. It stays below 100 until the operation
// has succeeded, because users read 100 % as finished.
func (o operation) percent() int32 {
	switch {
	case o.state == stateSucceeded:
		return 100
	case o.total <= 0:
		return 0
	}
	return int32(min(99, 100*float64(o.done)/float64(o.total)))
}

var (
	errNotFound       = apperror.New(apperror.NotFound, "OPERATION_NOT_FOUND", "operation not found; operations are kept for 7 days after they finish")
	errTooManyWaiting = apperror.New(apperror.Exhausted, "TOO_MANY_OPERATIONS", "you already have 20 operations waiting; wait until one finishes, or cancel one").RetryIn(waitingRetryDelay)
	errRequestIDTaken = apperror.New(apperror.Exists, "REQUEST_ID_TAKEN", "this request ID was already used for a different operation; use a new one")
	errNotDone        = apperror.New(apperror.Invalid, "OPERATION_NOT_DONE", "the operation has not finished; cancel it, or wait until it finishes")
)

// idPattern matches operation ids: 128 random bits, which cannot be guessed.
var idPattern = regexp.MustCompile(`^[a-z2-7]{26}$`)

func newID() string {
	var bits [16]byte
	rand.Read(bits[:])
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(bits[:]))
}

// parseName returns the id in "operations/{operation}". A malformed name is
// errNotFound too.
func parseName(name string) (string, error) {
	id, ok := strings.CutPrefix(name, "operations/")
	if !ok || !idPattern.MatchString(id) {
		return "", errNotFound
	}
	return id, nil
}
