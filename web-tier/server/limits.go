package server

import "time"

// Limits of the HTTP server. There is none for reading a body here: it would
// also end streams, which read until the browser goes. Forms bring their own.
const (
	// HeaderTimeout is how long a browser may take to send its headers: slower
	// ones hold a connection for nothing.
	HeaderTimeout = 5 * time.Second
	// WriteTimeout is how long a page may take in all: the longest budget of a
	// form, its reading, and a slow line. Streams move their own deadline on.
	WriteTimeout = 40 * time.Second
	// IdleTimeout keeps connections through the pause in which a page is read;
	// under the 120 s after which common proxies give theirs up.
	IdleTimeout = 90 * time.Second
	// MaxHeaderBytes is several times what browsers send.
	MaxHeaderBytes = 32 << 10
	// DrainTimeout is how long pages under way have at the end.
	DrainTimeout = 10 * time.Second

	// maxUnderWay bounds the pages that are made at the same time. Each waits
	// for the logic tier, which refuses more than that itself; one more here
	// would only wait longer to be refused.
	maxUnderWay = 1024
	// busyRetry is when to come back after that.
	busyRetry = 2 * time.Second
)
