package server

import "time"

const (
	// leastUnderWay and mostUnderWay bound the limit of pages that are made at the
	// same time, which is found out in between. Fewer than leastUnderWay overload
	// nothing; more than mostUnderWay would only wait for the logic tier to refuse them.
	leastUnderWay = 8
	mostUnderWay  = 1024

	// standing is for how long somebody always waits when more come than can be served:
	// longer than a pause of the runtime, after which as many wait as came in it.
	standing = 100 * time.Millisecond
	// longestWait is how long somebody waits for a place, and mostWaiting how many of a
	// class do at most.
	longestWait = 500 * time.Millisecond
	mostWaiting = 1024

	// limitWindow is for how long pages are watched at least before the limit is
	// changed, and limitSamples how many.
	limitWindow  = 500 * time.Millisecond
	limitSamples = 50

	// busyRetry is when to come back at the earliest when there was no room.
	busyRetry = time.Second
)
