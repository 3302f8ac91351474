package server

import "time"

const (
	// maxUnderWay bounds the pages that are made at the same time. Each waits
	// for the logic tier, which refuses more than that itself; one more here
	// would only wait longer to be refused.
	maxUnderWay = 1024
	// busyRetry is when to come back after that.
	busyRetry = 2 * time.Second
)
