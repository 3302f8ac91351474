package live

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

// source is where a feed's news come from: the logic tier's contract for one kind
// of thing that can be followed. A key says which one of the kind; it is empty
// for an inbox, of which a session has just one.
type source interface {
	// open opens the stream that all who follow share.
	open(context.Context) (upstream, error)
	// read returns a page of what came after a cursor, or, when that is empty,
	// from where to follow. The session is in the context's metadata.
	read(ctx context.Context, key, after string) (page, error)
	// body returns a page as the JSON that answers a poll.
	body(page) ([]byte, error)
	// takes says whether key may be asked for: a subscription that breaks the
	// contract's rules would end the stream of everybody.
	takes(key string) bool
	// traits says what all of the kind have in common.
	traits() traits
}

// traits is how the things of a kind are followed.
type traits struct {
	// whole: an event says all that the ones before it said, so that only the
	// latest matters to who is slow.
	whole bool
	// ends: what is followed comes to an end, after which there is nothing to
	// wait for.
	ends bool
	// guarded: the logic tier says by a read whether this session may follow, so
	// that nothing is said before that.
	guarded bool
	// most is how many may follow at a time; 0 means maxReaders.
	most int
	// signIn is what is said to whoever is not signed in.
	signIn string
}

// upstream is one stream to the logic tier.
type upstream interface {
	send(change) error
	receive() (happened, error)
}

// change is a subscription, or its end.
type change struct {
	number     uint64
	token, key string
	end        bool
}

// happened is what the logic tier says of subscriptions: one of its fields.
type happened struct {
	subscribed uint64
	ended      uint64
	reason     string // why it ended
	gap        bool   // something may have been missed, of every subscription
	// news is an event for subscriptions. One that cannot be made sense of is
	// passed over, with the reason why.
	news          *frame
	subscriptions []uint64
	bad           error
}

// page is what was read.
type page struct {
	frames []*frame // what came after the cursor asked for, in order
	cursor cursor   // from where to go on
	more   bool     // there is more already
	reset  bool     // the frame says that the cursor asked for counts nothing
	// stand is how the thing stands, whether that is news or not, and over says
	// that it stays so; nil for what has no state of its own.
	stand *frame
	over  bool
	// changed is when it last changed, ends when that likely ends; both may not
	// be known.
	changed, ends time.Time
}

// when returns a time of the contract; the zero time when it is not known.
func when(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}

// news says whether there is anything in the page.
func (p page) news() bool {
	for _, f := range p.frames {
		if f.json != nil {
			return true
		}
	}
	return false
}
