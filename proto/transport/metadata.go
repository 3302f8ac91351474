package transport

import (
	"strconv"
	"time"

	"google.golang.org/grpc/metadata"
)

// Keys of the metadata that a call carries.
const (
	// SessionKey carries the session token of the person a call is made for.
	SessionKey = "techtalks-session"
	// ClientAddressKey carries the address of the browser a call is made for,
	// as the web tier saw it. Believed from the web tier alone.
	ClientAddressKey = "techtalks-client-address"
	// TraceparentKey carries the trace (W3C Trace Context).
	TraceparentKey = "traceparent"
)

// Keys of the trailer that an answer carries.
const (
	logicHostKey = "techtalks-logic-host"
	dataHostKey  = "techtalks-data-host"
	logicTimeKey = "techtalks-logic-us"
	dataTimeKey  = "techtalks-data-us"
)

// Timing says where a call was answered and how long that took.
type Timing struct {
	// LogicHost and DataHost are the hosts of the tiers that worked on it.
	LogicHost, DataHost string
	// Logic is the time from the request's arrival to its answer; Data is the
	// part of it spent waiting for the database.
	Logic, Data time.Duration
}

// Trailer returns the trailer that carries t, in microseconds.
func (t Timing) Trailer() metadata.MD {
	return metadata.Pairs(
		logicHostKey, t.LogicHost,
		dataHostKey, t.DataHost,
		logicTimeKey, strconv.FormatInt(t.Logic.Microseconds(), 10),
		dataTimeKey, strconv.FormatInt(t.Data.Microseconds(), 10),
	)
}

// TimingFromTrailer reads what Trailer wrote; false when it is not there.
func TimingFromTrailer(trailer metadata.MD) (Timing, bool) {
	one := func(key string) string {
		if values := trailer.Get(key); len(values) > 0 {
			return values[0]
		}
		return ""
	}
	logic, err := strconv.ParseInt(one(logicTimeKey), 10, 64)
	if err != nil {
		return Timing{}, false
	}
	data, err := strconv.ParseInt(one(dataTimeKey), 10, 64)
	if err != nil {
		return Timing{}, false
	}
	return Timing{
		LogicHost: one(logicHostKey),
		DataHost:  one(dataHostKey),
		Logic:     time.Duration(logic) * time.Microsecond,
		Data:      time.Duration(data) * time.Microsecond,
	}, true
}
