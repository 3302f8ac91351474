package live

import (
	"math/rand/v2"
	"time"
)

const (
	// maxReaders bounds the streams of one web tier; at about 20 KB each. One
	// more is told to come back later.
	maxReaders = 20_000

	// maxOutbox bounds what waits to be sent upstream: a subscription and its end
	// for every browser there may be. Only an upstream that takes nothing lets
	// it fill.
	maxOutbox = 2 * maxReaders

	// maxPending bounds what waits for one browser. One that does not read is
	// cut when it is reached, and goes on from its Last-Event-ID when it reads
	// again.
	maxPending = 256

	// deliverers is how many workers a core write to browsers.
	deliverers = 2
	// quickly is how long a worker waits for a browser's connection to take
	// something; after that its own goroutine goes on waiting.
	quickly = 20 * time.Millisecond

	// writeTimeout cuts a browser whose connection takes nothing more.
	writeTimeout = 20 * time.Second

	// heartbeat is how often a silent stream says that it lives: proxies close
	// what is idle for 30 seconds and more.
	heartbeat = 15 * time.Second

	// A stream lives between minLife and maxLife, by chance: browsers that came
	// together after a restart do not come together again, they spread over
	// replicas, and a session that was revoked hears nothing after maxLife.
	minLife = 10 * time.Minute
	maxLife = 15 * time.Minute

	// subscribeTimeout is how long a browser waits to be subscribed before it is
	// told to try again.
	subscribeTimeout = 5 * time.Second

	// Replays are read by a few workers: after a restart of the logic tier
	// every browser needs one at once.
	replayWorkers = 16
	replayTimeout = 5 * time.Second
	replayPage    = 200
	// replayPause is the pause before a failed replay is tried again.
	replayPause = time.Second

	// Browsers that are sent away come back within drainSpread, by chance.
	drainSpread = 5 * time.Second
	// drainTimeout bounds how long their last write may take.
	drainTimeout = 3 * time.Second
	// busyRetry is what a browser waits when there is no room or no logic tier.
	busyRetry = 5 * time.Second

	// Pauses before a lost upstream is opened again.
	firstReopen = 100 * time.Millisecond
	longReopen  = 3 * time.Second
)

func between(low, high time.Duration) time.Duration { return low + rand.N(high-low) }
