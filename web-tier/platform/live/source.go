package live

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// source reads one kind of resource from the logic tier. A key names the resource; it
// is empty where a session has only one, as with inboxes.
type source interface {
	// open opens the stream that all subscribers share.
	open(context.Context) (upstream, error)
	// read returns a page of the events after a cursor or, if that is empty, the
	// cursor to start from. The session is in the context's outgoing metadata.
	read(ctx context.Context, key, after string) (page, error)
	// pollBody returns a page as the JSON body of a poll's answer.
	pollBody(page) ([]byte, error)
	// validKey reports whether key obeys the contract's rules: a subscription that
	// breaks them would end the shared stream.
	validKey(key string) bool
	// traits returns the properties of this kind of resource.
	traits() traits
}

// traits are the properties of a kind of resource.
type traits struct {
	// coalesce: each event supersedes the ones before it, so that a slow subscriber
	// needs only the latest.
	coalesce bool
	// finite: the resource finishes, and no event follows.
	finite bool
	// authorizedByRead: only a read shows whether the session is allowed to follow,
	// so that a stream must not start before one.
	authorizedByRead bool
	// maxSubscribers limits the subscribers; 0 is the package's maxSubscribers.
	maxSubscribers int
	// signInMessage answers requests without a session.
	signInMessage string
}

// upstream is a stream to the logic tier.
type upstream interface {
	send(subscriptionChange) error
	receive() (upstreamEvent, error)
}

// subscriptionChange subscribes or unsubscribes.
type subscriptionChange struct {
	id          uint64
	token, key  string
	unsubscribe bool
}

// upstreamEvent is an event from the logic tier: a subscription was established or
// ended, events may have been missed, or a frame arrived.
type upstreamEvent struct {
	subscribed uint64 // subscription, or 0
	ended      uint64 // subscription, or 0
	endReason  string
	gap        bool // any subscription may have missed events

	frame      *frame
	recipients []uint64 // subscriptions that receive frame
	invalid    error    // why the event could not be decoded; it is skipped
}

// page is the result of a read.
type page struct {
	frames []*frame // the events after the requested cursor, in order
	cursor cursor   // where to resume
	more   bool     // more events are available
	reset  bool     // the requested cursor is invalid, and frames holds the reset
	// snapshot is the current state, whether it is news or not; nil for a resource
	// without state.
	snapshot *frame
	done     bool // the resource is finished
	// updateTime is when the resource last changed, expectedEnd when it is likely to
	// finish. Each is zero if unknown.
	updateTime, expectedEnd time.Time
}

// asTime returns t, or the zero time if t is nil.
func asTime(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// hasNews reports whether the page has any event.
func (p page) hasNews() bool {
	for _, f := range p.frames {
		if f.json != nil {
			return true
		}
	}
	return false
}
