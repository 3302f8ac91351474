package server

import (
	"time"

	"techtalks.example/web-tier/platform/logicclient"
)

const (
	// initialLimit is the concurrency limit for pages before anything is measured, and
	// when there is no overload. The limit stays between minLimit, at which requests hardly
	// slow each other down, and maxLimit, well above which the logic tier rejects their calls.
	initialLimit = 16
	minLimit     = 2
	maxLimit     = 1024
	// latencyTolerance is the slowdown, as a multiple of the base latency, up to which
	// pages are not taken to slow each other down: their latency varies anyway.
	latencyTolerance = 1.5
	// externalSlowdown is by how many times the latency must exceed that of all requests in
	// flight sharing one core before the cause must be external, such as another network.
	externalSlowdown = 4

	// The limit is adapted once per window, which lasts at least sampleWindow and holds at
	// least minSamples latencies. maxSamples end a window early.
	sampleWindow = 100 * time.Millisecond
	minSamples   = 20
	maxSamples   = 1000
	// baseLatencyTTL is how long a measured base latency is valid.
	baseLatencyTTL = time.Minute

	// standingQueueAge is how long the queue must not have been empty to count as standing:
	// longer than a pause of the runtime, which leaves behind the requests that arrived
	// during it. At least standingQueueAdmitted waiters must have been admitted meanwhile:
	// when none are, all wait for one peer that is being replaced and will come back.
	standingQueueAge      = 100 * time.Millisecond
	standingQueueAdmitted = 20
	// queueWait is how long a request waits for a slot on average, and overloadQueueWait
	// while the queue is standing, when a request that is not served soon hardly will be. It
	// is no shorter, since some clients retry as soon as they are answered. Each wait is
	// drawn from half to one and a half times the average: not all requests time out at once.
	queueWait         = 500 * time.Millisecond
	overloadQueueWait = 200 * time.Millisecond
	// maxQueueLength limits how many requests of one priority wait.
	maxQueueLength = 1024

	// addressShare is how many pages one address can have in progress before its next one
	// waits behind all other addresses: more than a browser requests at once, and fewer than
	// it takes to fill the site.
	addressShare = 8

	// busyRetry is the minimum Retry-After of a request that was shed.
	busyRetry = time.Second
)

const (
	// MaxForm limits a form's body, not counting an attached file: several times the
	// longest description.
	MaxForm = 256 << 10
	// FormTimeout is how long a client has to send a form without a file.
	FormTimeout = 15 * time.Second
	// MaxDrained limits how much of a form that is too large is read and discarded.
	MaxDrained = 16 << 20
	// rejectedBodyTimeout is how long the rest of a rejected form can take to arrive.
	rejectedBodyTimeout = 2 * time.Second
)

// A share is large enough for a school or a company behind one address, and still leaves
// most slots to everyone else. A person needs a few at once, one for each open tab.
var (
	// readerSlots limits the forms that are being read: 128 MB if all are of the maximum
	// size. Most arrive together with their headers, and take no time.
	readerSlots = logicclient.SlotBounds{Total: 512, PerSession: 16, PerAddress: 64}
	// formSlots limits the forms that are processed. The logic tier runs fewer changes at a
	// time and rejects the others; one address must not fill those that it runs.
	formSlots = logicclient.SlotBounds{Total: 256, PerSession: 8, PerAddress: 32}
	// streamedSlots limits the forms with a file. Each holds a chunk of the file, see
	// package uploads, and one call after the file has arrived.
	streamedSlots = logicclient.SlotBounds{Total: 128, PerSession: 4, PerAddress: 16}
)
