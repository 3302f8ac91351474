package server

import (
	"runtime"
	"time"
)

// What every call must keep to. The numbers are policy: here, with their why.
const (
	// deadlineFloor: a call that has less than this left is refused and not
	// started. Its caller would be gone before the first query is back, and the
	// work would be done for nobody.
	deadlineFloor = 5 * time.Millisecond

	// deadlineDefault is given to a call that came without one, such as
	// grpcurl's: longer than any answer takes, short enough to notice a hang.
	deadlineDefault = 10 * time.Second

	// deadlineCeiling bounds what a caller may ask for.
	deadlineCeiling = time.Minute

	// deadlineMargin is kept back from a caller's deadline, so that the caller
	// hears from us which part was slow instead of giving up on its own. A
	// twentieth of what is left, at most this.
	deadlineMargin = 20 * time.Millisecond

	// leastCalls and mostCalls bound the limit of unary calls under way, which is
	// found out in between; some that matter more are let in beyond it. Fewer than
	// leastCalls do not overload anything, and a few people who come at once must not
	// be turned away; of more than mostCalls all would wait for each other past their
	// deadlines: the connections to the database are far fewer.
	leastCalls = 48
	mostCalls  = 384

	// limitWindow is for how long calls are watched at least before the limit is
	// changed, and limitSamples how many.
	limitWindow  = 500 * time.Millisecond
	limitSamples = 50

	// maxChanges bounds the calls by which people change something. They wait for each
	// other where they change the same row, and for a connection beyond a module's 8 to
	// 24: more would only wait, in the slots of leastCalls that reading needs. A client
	// address gets half of them.
	maxChanges = leastCalls * 2 / 3

	// maxPasswordCalls bounds the calls that hash a password or wait to. At 40 ms
	// each on one core, the last is done within half of the time that a browser's
	// form has.
	maxPasswordCalls = 64

	// maxWaits bounds the calls under way that only wait: each keeps a goroutine
	// and nothing else, and must not take the place of one that works.
	maxWaits = 10_000

	// maxStreams bounds the streams that carry a person's bytes. One account, and one client
	// address, has a share of them: more than one web tier lets through.
	maxStreams        = 1000
	streamsPerAccount = maxStreams / 4
	streamsPerAddress = maxStreams / 2

	// maxFollowing bounds the streams of programs, on behalf of nobody in particular: a web
	// tier needs three, whatever the bytes under way.
	maxFollowing = 200

	// workers are goroutines that are kept for calls: a new one for each call
	// grows its stack anew, a tenth of the work of answering. Calls beyond them
	// get one of their own.
	workers = 64

	// retryWhenFull is what a refused call is told to wait at least. Longer than
	// most calls take, so that there is room by then.
	retryWhenFull = time.Second
)

// passwordCalls is how many calls hash a password at the same time: on half of the
// processors, since a hash leaves its processor to nothing else.
func passwordCalls() int { return max(1, runtime.GOMAXPROCS(0)/2) }
