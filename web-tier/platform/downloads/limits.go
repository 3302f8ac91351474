package downloads

import (
	"time"

	"techtalks.example/web-tier/platform/logicclient"
)

const (
	// busyRetry is when to come back after that.
	busyRetry = 5 * time.Second
	// maxRanges bounds the ranges of one request. Players ask for one.
	maxRanges = 8
	// writeTimeout is how long a browser may take nothing. A paused player takes
	// nothing either: it asks anew when it goes on.
	writeTimeout = time.Minute
	// parkAfter is how long a write may wait for the browser until what was read ahead for
	// it is dropped, here and in the logic tier. A player that has buffered enough, or is
	// paused, then costs its connection and the few KB of the write.
	parkAfter = 500 * time.Millisecond
	// firstAhead is how many bytes the logic tier is first asked for: four times as many
	// each time that a browser has taken them without being parked, up to maxAhead, and
	// parkedAhead after it was. A slow browser is not read more for than it takes.
	firstAhead  = 1 << 20
	maxAhead    = 64 << 20
	parkedAhead = 32 << 10
	// maxReopened is how often in a row the reading is taken up again where it
	// broke, with reopenPause more between each: a logic tier that restarts is
	// back by then.
	maxReopened = 8
	reopenPause = 100 * time.Millisecond
)

// slots bounds the browsers that bytes go out to. One that keeps reading holds a piece of
// 256 KB here and about three in the logic tier. A player opens a few requests when it
// seeks; a lecture hall behind one address watches together.
var slots = logicclient.SlotBounds{Total: 512, PerSession: 16, PerAddress: 128}
