package live

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"techtalks.example/web-tier/platform/logicclient"
)

// timeout is how long a long poll waits.
type timeout struct {
	wait time.Duration
	// applied is what the client is told of it, when it is not just what its
	// parameter said: Preference-Applied (RFC 7240, 3).
	applied string
}

var errTimeout = &logicclient.Problem{
	Status: http.StatusBadRequest, Reason: "TIMEOUT_INVALID", Title: "That does not work",
	Message: `The parameter "timeout" takes 0s to 60s: a duration such as "25s", or a number of seconds. Leave it out for 25s.`,
	Fields:  map[string]string{"timeout": "use 0s to 60s"},
}

// timeoutOf returns how long a request wants to wait: its parameter "timeout",
// or else "Prefer: wait=" (RFC 7240, 4.3), or else defaultWait. A parameter that
// makes no sense is an error; a preference that makes none is passed over, as
// section 2 asks.
func timeoutOf(r *http.Request) (timeout, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return timeout{}, errTimeout // what could not be read may have been it
	}
	if !query.Has("timeout") {
		seconds, preferred := preferredWait(r)
		if !preferred {
			return timeout{wait: defaultWait}, nil
		}
		wait := time.Duration(min(seconds, uint64(maxWait/time.Second))) * time.Second
		return timeout{wait, waitApplied(wait)}, nil
	}
	text := query.Get("timeout")
	if text != "" && text[len(text)-1] >= '0' && text[len(text)-1] <= '9' {
		text += "s"
	}
	wait, err := time.ParseDuration(text)
	switch {
	case err != nil || wait < 0 || wait > senselessWait:
		return timeout{}, errTimeout
	case wait > maxWait:
		return timeout{maxWait, waitApplied(maxWait)}, nil
	}
	return timeout{wait: wait}, nil
}

func waitApplied(wait time.Duration) string {
	return "wait=" + strconv.Itoa(int(wait/time.Second))
}

// preferredWait returns the preference "wait", in seconds. Of several the first
// counts.
func preferredWait(r *http.Request) (seconds uint64, ok bool) {
	for _, preference := range strings.Split(strings.Join(r.Header.Values("Prefer"), ","), ",") {
		preference, _, _ = strings.Cut(preference, ";")
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 64)
		return seconds, err == nil
	}
	return 0, false
}
