package server

import "time"

const (
	// leastUnderWay and mostUnderWay bound the limit of pages that are made at the
	// same time, which is found out in between. Fewer than leastUnderWay overload
	// nothing, and a few people who come at once must not be turned away; more than
	// mostUnderWay would only wait for the logic tier to refuse them.
	leastUnderWay = 64
	mostUnderWay  = 1024

	// limitWindow is for how long pages are watched at least before the limit is
	// changed, and limitSamples how many.
	limitWindow  = 500 * time.Millisecond
	limitSamples = 50

	// publicShare is the part of the room that what anybody reads may fill.
	publicShare = .8

	// busyRetry is when to come back at the earliest when there was no room.
	busyRetry = time.Second
)
