package files

import "time"

const (
	// maxWatchers bounds the browsers that bytes go out to; each holds a piece,
	// and two more that are on their way.
	maxWatchers = 512
	// busyRetry is when to come back after that.
	busyRetry = 5 * time.Second
	// maxRanges bounds the ranges of one request. Players ask for one.
	maxRanges = 8
	// writeTimeout is how long a browser may take nothing. A paused player takes
	// nothing either: it asks anew when it goes on.
	writeTimeout = time.Minute
	// maxReopened is how often in a row the reading is taken up again where it
	// broke, with reopenPause more between each: a logic tier that restarts is
	// back by then.
	maxReopened = 8
	reopenPause = 100 * time.Millisecond
)
