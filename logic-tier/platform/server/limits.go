package server

import (
	"runtime"
	"time"
)

// Limits on calls. The numbers are policy.
const (
	// minDeadline is the least time a call must have left. With less, the client
	// would time out before the first query returned, so the call is rejected
	// before it starts.
	minDeadline = 5 * time.Millisecond

	// defaultDeadline applies to calls without a deadline, such as grpcurl's. It is
	// longer than any call takes, and short enough to notice a hang.
	defaultDeadline = 10 * time.Second

	// maxDeadline caps the deadline a client can request.
	maxDeadline = time.Minute

	// deadlineMargin is subtracted from the client's deadline, so that the client
	// receives the server's error, which reports the slow part, before its own timeout
	// fires. The margin is 5 % of the remaining time, and at most this.
	deadlineMargin = 20 * time.Millisecond

	// minCalls and maxCalls bound the adaptive limit of concurrent unary calls. Fewer
	// than minCalls cannot overload the server, and a small burst of users must not be
	// rejected. More than maxCalls would queue for the far fewer database connections
	// past their deadlines. See reservedShare for calls admitted beyond the limit.
	minCalls = 48
	maxCalls = 384

	// limitWindow is the minimum time, and limitSamples the minimum number of calls,
	// between two adjustments of the limit.
	limitWindow  = 500 * time.Millisecond
	limitSamples = 50

	// maxChanges limits concurrent writes from the web tier. Writes to the same row wait
	// for each other, and beyond a module's 8 to 24 connections they wait for one. More
	// of them would only hold slots that reads need. A client address gets at most half.
	maxChanges = minCalls * 2 / 3

	// maxPasswordCalls limits the calls that hash a password or are queued to. At 40 ms
	// each on one core, the last finishes within half of a form submission's budget.
	maxPasswordCalls = 64

	// maxLongPolls limits concurrent long polls. Each holds a goroutine and nothing else,
	// so long polls do not share slots with calls that do work.
	maxLongPolls = 10_000

	// maxStreams limits the streams that carry uploads and downloads. An account and a
	// client address each have a share of them, larger than one web tier lets through.
	maxStreams        = 1000
	streamsPerAccount = maxStreams / 4
	streamsPerAddress = maxStreams / 2

	// maxProgramStreams limits the streams that programs open without a user. A web tier
	// needs three, however many uploads and downloads are in progress.
	maxProgramStreams = 200

	// streamWorkers is the number of goroutines kept to serve calls. A new goroutine
	// per call has to grow its stack, a tenth of the cost of a call. Calls beyond this
	// number get a new goroutine.
	streamWorkers = 64

	// busyRetryDelay is the minimum retry delay sent to rejected calls. It is longer
	// than most calls take, so that slots are free by then.
	busyRetryDelay = time.Second
)

// passwordConcurrency returns how many calls hash a password concurrently: one per two
// processors, since a hash fully occupies its processor.
func passwordConcurrency() int { return max(1, runtime.GOMAXPROCS(0)/2) }
