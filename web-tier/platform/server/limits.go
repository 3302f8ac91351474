package server

import (
	"time"

	"techtalks.example/web-tier/platform/logicclient"
)

const (
	// firstUnderWay is how many pages are made at the same time at most before anything
	// is known, or when there is no overload. It is never less than fewUnderWay, which slow
	// each other down little, and never more than mostUnderWay: they would only wait for
	// the logic tier to refuse them.
	firstUnderWay = 16
	fewUnderWay   = 2
	mostUnderWay  = 1024
	// tolerance is how many times what a page takes by itself it may take before the
	// others are what slows it down: the same page does not always take the same.
	tolerance = 1.5
	// foreign is how many times longer it may take than if those under way shared one core
	// before it must be something else that slows it down, such as another network.
	foreign = 4

	// limitWindow is for how long pages are watched at least before the limit is
	// changed, and limitSamples how many; mostSamples are enough before.
	limitWindow  = 100 * time.Millisecond
	limitSamples = 20
	mostSamples  = 1000
	// limitMemory is for how long it is held true what a page takes by itself.
	limitMemory = time.Minute

	// standing is for how long somebody always waits when more come than can be served:
	// longer than a pause of the runtime, after which as many wait as came in it.
	// standingServed is how many are served meanwhile, at least: when nobody is, what all
	// wait for is one neighbour that is replaced, and comes back.
	standing       = 100 * time.Millisecond
	standingServed = 20
	// longestWait is how long somebody waits for a place, and briefWait how long when more
	// come than can be served: who has not been served soon will hardly be. It is no
	// briefer, since some ask again as soon as they are answered. Half of it at least, and
	// one and a half times at most: not all leave at once.
	longestWait = 500 * time.Millisecond
	briefWait   = 200 * time.Millisecond
	// mostWaiting is how many of a class wait at most.
	mostWaiting = 1024

	// addressShare is how many pages of one address are in progress before its next one
	// waits behind everyone else's: more than a browser asks for at once, and fewer than it
	// takes to fill the site.
	addressShare = 8

	// busyRetry is when to come back at the earliest when there was no room.
	busyRetry = time.Second
)

const (
	// MaxForm bounds a form's body, a file that comes with it not counted: several times
	// the longest description.
	MaxForm = 256 << 10
	// FormTimeout is how long a client may take to send a form without a file.
	FormTimeout = 15 * time.Second
	// MaxDrained is how much of a form that is too large is read and thrown away.
	MaxDrained = 16 << 20
	// refusedBody is how long the rest of a form may take that was refused.
	refusedBody = 2 * time.Second
)

// A share is generous to a school or a company behind one address, and still leaves most
// slots to everyone else. A person needs a few at once, for each open tab.
var (
	// readerSlots bounds the forms that are being read: 128 MB if all are as large as
	// they may be. Most arrive together with their headers, and take no time.
	readerSlots = logicclient.SlotBounds{Total: 512, PerSession: 16, PerAddress: 64}
	// formSlots bounds the forms that are processed: the logic tier would refuse more. It
	// takes 48 calls at least, which one address must not fill.
	formSlots = logicclient.SlotBounds{Total: 256, PerSession: 8, PerAddress: 32}
	// streamedSlots bounds the forms with a file. Each holds a piece of the file, see
	// package uploads, and one call when the file has arrived.
	streamedSlots = logicclient.SlotBounds{Total: 128, PerSession: 4, PerAddress: 16}
)
