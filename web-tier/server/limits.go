package server

import "time"

const (
	// leastUnderWay and mostUnderWay bound the limit of pages that are made at the
	// same time, which is found out in between. Fewer than leastUnderWay overload
	// nothing; more than mostUnderWay would only wait for the logic tier to refuse them.
	leastUnderWay = 16
	mostUnderWay  = 1024

	// longestWait is how long somebody waits for a place, and mostWaiting how many of a
	// class do at most who are not next.
	longestWait = 500 * time.Millisecond
	mostWaiting = 1024

	// limitWindow is for how long pages are watched at least before the limit is
	// changed, and limitSamples how many.
	limitWindow  = 500 * time.Millisecond
	limitSamples = 50

	// busyRetry is when to come back at the earliest when there was no room.
	busyRetry = time.Second
)
