package downloads

import (
	"time"

	"techtalks.example/web-tier/platform/logicclient"
)

const (
	// busyRetryAfter is the Retry-After when no slot is free.
	busyRetryAfter = 5 * time.Second
	// maxRanges limits the ranges of one request. Players request one.
	maxRanges = 8
	// writeTimeout is how long a browser may read nothing before it is disconnected. A paused
	// player is disconnected too, and sends a new request when it resumes.
	writeTimeout = time.Minute
	// parkAfter is how long a write may block before the reader is parked: its stream is closed
	// and its read-ahead buffers, here and in the logic tier, are dropped. A paused player, or
	// one that has buffered enough, then costs only its connection and the few KB of the write.
	parkAfter = 500 * time.Millisecond
	// initialReadAhead is the number of bytes that the first stream requests. Each further stream
	// requests four times as many, up to maxReadAhead. After the reader was parked, the next
	// stream requests parkedReadAhead, so that little is read in vain for a slow browser.
	initialReadAhead = 1 << 20
	maxReadAhead     = 64 << 20
	parkedReadAhead  = 32 << 10
	// maxRetries is how often in a row a broken stream is reopened where it broke. The pauses
	// between the attempts grow by retryPause, which is enough for the logic tier to restart.
	maxRetries = 8
	retryPause = 100 * time.Millisecond
)

// slotLimits limits the downloads in progress. A browser that keeps reading holds one chunk of
// 256 KB here and about three in the logic tier. The limit per session allows for the few
// requests that a player opens when it seeks; the one per address, for a lecture hall.
var slotLimits = logicclient.SlotBounds{Total: 512, PerSession: 16, PerAddress: 128}
