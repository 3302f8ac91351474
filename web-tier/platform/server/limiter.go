package server

import (
	"math"
	"slices"
	"time"
)

// limit is how many pages are made at a time at most. It is found out from how long they
// take, as FAST TCP finds out how many packets may be under way: as many as there would be
// if none of them were slowed down by another, and some more (Wei, Jin, Low, Hegde, "FAST
// TCP", IEEE/ACM Transactions on Networking 14, 6). Where one core makes all of a page,
// that is a handful; where pages wait for a network, as many as are on their way.
//
// How long a page takes when nothing slows it down is forgotten after a while, since what
// is asked for changes, and the network; at once, when pages take longer than those under
// way can be the reason for. Under a load that does not end it is found out anew with few
// under way for a moment (Cardwell and others, "BBR: Congestion-Based Congestion
// Control", ACM Queue 14, 5: "ProbeRTT").
//
// The logic tier, which refuses at once, has a library's: that moves by one at a time and
// bounds from far above. Here somebody waits for each place, and must not for long.
//
// A limit is not safe for concurrent use.
type limit struct {
	most  float64 // under way at most
	under int     // under way, now

	began time.Time       // when watching began
	took  []time.Duration // what pages took since
	full  bool            // there was no place, since

	light  time.Duration // what a page takes when nothing slows it down; 0 when not known
	found  time.Time     // when that was found out
	resume float64       // the limit that it is found out below; 0 when it is not just now
	few    bool          // those from before are gone
}

func newLimit() limit { return limit{most: firstUnderWay, began: time.Now()} }

// now is how many may be under way.
func (l *limit) now() int { return int(l.most) }

// take takes a place; false when there is none.
func (l *limit) take() bool {
	if l.under >= l.now() {
		l.full = true
		return false
	}
	l.under++
	return true
}

// free gives a place back.
func (l *limit) free() { l.under-- }

// learn learns how long a page took.
func (l *limit) learn(took time.Duration) {
	l.took = append(l.took, took)
	if n := len(l.took); n < limitSamples || n < mostSamples && time.Since(l.began) < limitWindow {
		return
	}
	slices.Sort(l.took)
	l.adapt(l.took[len(l.took)/2], time.Now())
	l.began, l.took, l.full = time.Now(), l.took[:0], false
}

// adapt adapts the limit to what half of the pages took at most.
func (l *limit) adapt(half time.Duration, now time.Time) {
	old := now.Sub(l.found) > limitMemory
	slower := float64(half) / float64(max(l.light, 1)) // times
	switch {
	case l.resume > 0 && !l.few:
		l.few = true // what was seen were still those from before
		return
	case l.resume > 0:
		l.most, l.resume, l.few = l.resume, 0, false
		l.light, l.found = half, now
	case half < l.light || l.light == 0 || old && !l.full:
		l.light, l.found = half, now
	case l.full && (old && slower > tolerance || slower > foreign*l.most):
		l.resume, l.most = l.most, fewUnderWay
		return
	case old:
		l.found = now // it is still true
	}
	if !l.full { // more is no use now; what was found out in an overload does not outlive it
		l.most = max(l.most, min(l.most+1, firstUnderWay))
		return
	}
	share := min(1, tolerance*float64(l.light)/float64(half))
	// The square root is by how much what comes varies (Halfin, Whitt, "Heavy-Traffic Limits
	// for Queues with Many Exponential Servers", Operations Research 29, 3).
	aim := l.most*share + math.Sqrt(l.most)
	l.most = min(max((l.most+aim)/2, fewUnderWay), mostUnderWay)
}
