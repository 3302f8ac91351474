package transport

import (
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
)

// Metadata keys of a call.
const (
	// SessionKey carries the session token of the user on whose behalf a call is made.
	SessionKey = "techtalks-session"
	// ClientAddressKey carries the address of the browser on whose behalf a call is made, as
	// seen by the web tier. Only the web tier is trusted to set it.
	ClientAddressKey = "techtalks-client-address"
	// TraceparentKey carries the trace context (W3C Trace Context).
	TraceparentKey = "traceparent"
)

// timingKey is the trailer of a response: the microseconds spent in the logic tier, the part
// of them spent in the data tier, and the two hosts. It is a single field because each field
// costs encoding and decoding on every call.
const timingKey = "techtalks-timing"

// Timing reports which hosts served a call and how long it took.
type Timing struct {
	// LogicHost and DataHost are the hosts of the two tiers.
	LogicHost, DataHost string
	// Logic is the time from the request's arrival to its response; Data is the
	// part of it spent waiting for the database.
	Logic, Data time.Duration
}

// Trailer returns the trailer that carries t.
func (t Timing) Trailer() metadata.MD {
	return metadata.MD{timingKey: {
		strconv.FormatInt(t.Logic.Microseconds(), 10) + " " + strconv.FormatInt(t.Data.Microseconds(), 10) + " " + t.LogicHost + " " + t.DataHost,
	}}
}

// TimingFromTrailer parses the trailer that Trailer returns. It reports false if the trailer
// is missing or malformed.
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
