package logicclient

import "techtalks.example/proto/transport/fairshare"

// Slots limits the use of a resource of this tier: in total, per session and per client
// address. Anyone can invent a session, so a request counts against both. The share of a
// session is what one person needs; the share of an address is what the people behind one
// NAT need together.
type Slots struct {
	limiter *fairshare.Limiter
	bounds  SlotBounds
}

// SlotBounds is the number of slots in total, and how many of them one session and one
// address can hold.
type SlotBounds struct{ Total, PerSession, PerAddress int }

// NewSlots returns Slots with the given bounds.
func NewSlots(bounds SlotBounds) *Slots {
	return &Slots{fairshare.New(bounds.Total), bounds}
}

// Acquire takes a slot on behalf of c, without waiting. The error is fairshare.ErrShare
// or fairshare.ErrFull.
func (s *Slots) Acquire(c Caller) (release func(), err error) {
	session, address := c.Session, c.Address
	if session != "" {
		session = "session " + session
	}
	if address != "" {
		address = "address " + address
	}
	return s.limiter.Acquire(fairshare.Share{Key: session, Limit: s.bounds.PerSession}, fairshare.Share{Key: address, Limit: s.bounds.PerAddress})
}

// InUse returns the number of slots in use.
func (s *Slots) InUse() int { return s.limiter.InUse() }
