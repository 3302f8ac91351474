package live

import (
	"math/rand/v2"
	"time"
)

const (
	// maxSubscribers limits the streams, at about 20 KB each, and long polls of one
	// feed in one process. Further clients are asked to come back later.
	maxSubscribers = 20_000

	// subscribersPerSession limits the streams and long polls of one session in one
	// feed. It allows for every tab of a browser.
	subscribersPerSession = 32
	// One client address can hold 1/addressFraction of a feed's subscriber slots, and
	// as much of its short polls. 5,000 streams suffice for a university behind one
	// address and leave slots for everyone else.
	addressFraction = 4

	// maxQueueSubscribers limits the subscribers of the message queue: more than all
	// operators with all their tabs. Each receives some 10 KB a second.
	maxQueueSubscribers = 500

	// maxSendQueue limits the messages queued for the upstream: one subscribe and one
	// unsubscribe for every possible subscriber. It is reached only when the upstream
	// has stopped reading.
	maxSendQueue = 2 * maxSubscribers

	// maxPending limits the events queued for one browser. A browser that does not
	// read is disconnected at the limit, and resumes from its Last-Event-ID.
	maxPending = 256
	// maxCoalesced is that limit where each event supersedes the ones before it. Beyond
	// it only the latest is kept. Operations take up to 50 KB each.
	maxCoalesced = 8

	// deliveryWorkersPerCPU is the number of delivery workers per CPU.
	deliveryWorkersPerCPU = 2
	// workerWriteTimeout is how long a delivery worker waits for a browser's connection.
	// After that the stream's own goroutine takes over.
	workerWriteTimeout = 20 * time.Millisecond

	// writeTimeout disconnects a browser whose connection accepts nothing.
	writeTimeout = 20 * time.Second

	// heartbeatInterval is how often an idle stream sends a comment: proxies close
	// connections that are idle for 30 seconds or more.
	heartbeatInterval = 15 * time.Second

	// A stream lives for a random time between minStreamLife and maxStreamLife. That
	// disperses browsers that reconnected together after a restart, rebalances them
	// over replicas, and stops delivery to a revoked session.
	minStreamLife = 10 * time.Minute
	maxStreamLife = 15 * time.Minute

	// subscribeTimeout is how long a request waits for its subscription before the
	// client is asked to try again.
	subscribeTimeout = 5 * time.Second

	// A fixed number of workers reads replays, since every browser needs one at the
	// same time after a restart of the logic tier.
	replayWorkers = 16
	replayTimeout = 5 * time.Second
	replayPage    = 200
	// replayRetryDelay is the pause before a failed replay is retried.
	replayRetryDelay = time.Second

	// maxPolls limits the short polls of a feed in flight. Each is a read of a few
	// milliseconds; this many at once mean that the logic tier has stopped responding.
	maxPolls = 256
	// pollsPerSession exceeds the connections that a browser opens to one host.
	pollsPerSession = 8
	// maxCursorLength is the contract's limit on a cursor.
	maxCursorLength = 200

	// The interval of short polls grows with the quiet time. It is at least
	// minPollInterval, since news come in bursts, and at most maxPollInterval. Clients
	// that want news sooner use a long poll.
	minPollInterval = 2 * time.Second
	maxPollInterval = 15 * time.Second
	// defaultPollInterval applies while the quiet time is unknown.
	defaultPollInterval = 5 * time.Second
	// The interval is 1/quietFraction of the time since the last change, or
	// 1/remainingFraction of the time that is likely left, whichever is longer.
	quietFraction     = 10
	remainingFraction = 20

	// A long poll waits for defaultWait, below the 30 seconds at which proxies close
	// idle connections. Longer requests are cut to maxWait. Those beyond
	// rejectedWait are mistakes and rejected.
	defaultWait  = 25 * time.Second
	maxWait      = time.Minute
	rejectedWait = time.Hour

	// drainSpread is the window over which disconnected browsers reconnect, at random.
	drainSpread = 5 * time.Second
	// drainTimeout limits the last writes of a drain.
	drainTimeout = 3 * time.Second
	// busyRetry is the retry delay when the feed is full or the logic tier unavailable.
	busyRetry = 5 * time.Second

	// Limits of the exponential backoff before a lost upstream is opened again.
	minReopenDelay = 100 * time.Millisecond
	maxReopenDelay = 3 * time.Second
)

// randomBetween returns a random duration in [low, high).
func randomBetween(low, high time.Duration) time.Duration { return low + rand.N(high-low) }
