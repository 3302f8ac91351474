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
	// keep is how long an operation stays after its end.
	keep = 7 * 24 * time.Hour
	// maxWaiting bounds the operations of one account that wait for their turn; one
	// more is refused. One operation of each kind has its turn at a time: an account
	// holds one worker of a queue at most, and its next operation joins the queue
	// behind those of other accounts.
	maxWaiting = 20
	// retryWhenMany is what who is refused is told to wait: most work is over in
	// minutes, and a place is free as soon as one is.
	retryWhenMany = 30 * time.Second
	// keptSteps bounds what is kept of what happened.
	keptSteps = 100
)

// state is how an operation stands, as it is kept.
type state string

const (
	waiting   state = "waiting"
	running   state = "running"
	succeeded state = "succeeded"
	failed    state = "failed"
	cancelled state = "cancelled"
)

// operation is the handle on long work.
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

// step is something that happened.
type step struct {
	at   time.Time
	text string
}

func (o operation) name() string { return "operations/" + o.id }

func (o operation) over() bool { return !o.ended.IsZero() }

// estimatedEnd returns when the work is likely done: as fast on as since its
// present worker began. Zero when nothing tells.
func (o operation) estimatedEnd() time.Time {
	since := o.updated.Sub(o.attemptBegan)
	did := o.done - o.attemptDone
	if o.state != running || o.total <= 0 || did <= 0 || since <= 0 || o.done > o.total {
		return time.Time{}
	}
	return o.updated.Add(time.Duration(float64(since) / float64(did) * float64(o.total-o.done)))
}

// percent is never 100 before it succeeded: people take that for the end.
func (o operation) percent() int32 {
	switch {
	case o.state == succeeded:
		return 100
	case o.total <= 0:
		return 0
	}
	return int32(min(99, 100*float64(o.done)/float64(o.total)))
}

var (
	errNoOperation = apperror.New(apperror.NotFound, "OPERATION_NOT_FOUND", "there is no such operation of yours; operations are kept for 7 days after their end")
	errMany        = apperror.New(apperror.Exhausted, "TOO_MANY_OPERATIONS", "20 of your operations wait for their turn; wait until one has ended, or cancel one").RetryIn(retryWhenMany)
	errRequestID   = apperror.New(apperror.Exists, "REQUEST_ID_TAKEN", "the same request id was used for other work; use a new one")
	errUnderWay    = apperror.New(apperror.Invalid, "OPERATION_NOT_DONE", "the operation has not ended; cancel it, or wait for its end")
)

// ids are 128 bits by chance: who does not know one cannot guess it.
var ids = regexp.MustCompile(`^[a-z2-7]{26}$`)

func newID() string {
	var bits [16]byte
	rand.Read(bits[:])
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(bits[:]))
}

// parseName returns the id in "operations/{operation}". What is no name is no
// operation either.
func parseName(name string) (string, error) {
	id, ok := strings.CutPrefix(name, "operations/")
	if !ok || !ids.MatchString(id) {
		return "", errNoOperation
	}
	return id, nil
}
