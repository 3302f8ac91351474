package server

import "time"

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

	// mostForms is how many forms are under way at most: the logic tier would refuse more.
	mostForms = 256

	// busyRetry is when to come back at the earliest when there was no room.
	busyRetry = time.Second
)
