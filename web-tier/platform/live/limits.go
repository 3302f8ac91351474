package live

import (
	"math/rand/v2"
	"time"
)

const (
	// maxReaders bounds who follows one feed of one web tier, over streams at
	// about 20 KB each, or waiting in a long poll. One more is told to come back
	// later.
	maxReaders = 20_000

	// readersPerSession bounds who follows one feed with one session: every tab of a
	// browser. addressShare is the part of a feed's streams, and of its short polls, that
	// one client address may have: 5,000 streams leave room for a university behind one,
	// and for everyone else.
	readersPerSession = 32
	addressShare      = 4

	// maxWatchers bounds who follows the queue: more than there are operators, with
	// every tab they have. Each is sent some 10 KB a second.
	maxWatchers = 500

	// maxOutbox bounds what waits to be sent upstream: a subscription and its end
	// for every browser there may be. Only an upstream that takes nothing lets
	// it fill.
	maxOutbox = 2 * maxReaders

	// maxPending bounds what waits for one browser. One that does not read is
	// cut when it is reached, and goes on from its Last-Event-ID when it reads
	// again.
	maxPending = 256
	// maxLatest bounds it where an event says all that the ones before it said:
	// then only the latest waits for who is slower than that. Operations are up to
	// 50 KB each.
	maxLatest = 8

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

	// maxPolls bounds the short polls of a feed that are under way. Each is one
	// read of a few milliseconds; so many at once means that the logic tier has
	// stopped answering.
	maxPolls = 256
	// pollsPerSession is more than a browser has under way to one host.
	pollsPerSession = 8
	// maxCursor is the contract's bound of a cursor.
	maxCursor = 200

	// A short poll is told to ask again after a tenth of the time that nothing
	// came for: soonPoll at least, since news come in bursts, latePoll at most. A
	// long poll is there for who wants it sooner.
	soonPoll = 2 * time.Second
	latePoll = 15 * time.Second
	// somePoll is said when it is not known how long nothing came.
	somePoll = 5 * time.Second
	// pollQuiet and pollRest are the shares: of the time since the last news, and
	// of the time that is likely left. Who asks has twenty looks at the rest.
	pollQuiet = 10
	pollRest  = 20

	// A long poll waits for defaultWait, below the 30 seconds at which proxies
	// close what is idle. One that asks for more than maxWait gets that; for more
	// than senselessWait it did not mean what it said.
	defaultWait   = 25 * time.Second
	maxWait       = time.Minute
	senselessWait = time.Hour

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
