package transport

import (
	"strconv"
	"strings"
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

// timingKey is the trailer of an answer: the microseconds in the logic tier and
// of them in the data tier, and the two hosts. One field: each costs its
// encoding and decoding on every call.
const timingKey = "techtalks-timing"

// Timing says where a call was answered and how long that took.
type Timing struct {
	// LogicHost and DataHost are the hosts of the tiers that worked on it.
	LogicHost, DataHost string
	// Logic is the time from the request's arrival to its answer; Data is the
	// part of it spent waiting for the database.
	Logic, Data time.Duration
}

// Trailer returns the trailer that carries t.
func (t Timing) Trailer() metadata.MD {
	return metadata.MD{timingKey: {
		strconv.FormatInt(t.Logic.Microseconds(), 10) + " " + strconv.FormatInt(t.Data.Microseconds(), 10) + " " + t.LogicHost + " " + t.DataHost,
	}}
}

// TimingFromTrailer reads what Trailer wrote; false when it is not there.
func TimingFromTrailer(trailer metadata.MD) (Timing, bool) {
	values := trailer.Get(timingKey)
	if len(values) != 1 {
		return Timing{}, false
	}
	logicTime, rest, _ := strings.Cut(values[0], " ")
	dataTime, hosts, _ := strings.Cut(rest, " ")
	logicHost, dataHost, found := strings.Cut(hosts, " ")
	logic, err := strconv.ParseInt(logicTime, 10, 64)
	if err != nil || !found {
		return Timing{}, false
	}
	data, err := strconv.ParseInt(dataTime, 10, 64)
	if err != nil {
		return Timing{}, false
	}
	return Timing{
		LogicHost: logicHost, DataHost: dataHost,
		Logic: time.Duration(logic) * time.Microsecond, Data: time.Duration(data) * time.Microsecond,
	}, true
}
