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
	duration time.Duration
	// applied is the value of Preference-Applied (RFC 7240, 3). It is empty if the
	// duration is the one that the parameter asked for, or the default.
	applied string
}

var errInvalidTimeout = &logicclient.Problem{
	Status: http.StatusBadRequest, Reason: "TIMEOUT_INVALID", Title: "Invalid timeout",
	Message: `Use a "timeout" from 0s to 60s: a duration such as "25s", or a number of seconds. The default is 25s.`,
	Fields:  map[string]string{"timeout": "use 0s to 60s"},
}

// parseTimeout returns how long a request asks to wait: its parameter "timeout", or else
// "Prefer: wait=" (RFC 7240, 4.3), or else defaultWait. An invalid parameter is an error.
// An invalid preference is ignored, as RFC 7240, section 2, requires.
func parseTimeout(r *http.Request) (timeout, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return timeout{}, errInvalidTimeout // the malformed part may be the timeout
	}
	if !query.Has("timeout") {
		seconds, ok := preferredWait(r)
		if !ok {
			return timeout{duration: defaultWait}, nil
		}
		wait := time.Duration(min(seconds, uint64(maxWait/time.Second))) * time.Second
		return timeout{wait, waitPreference(wait)}, nil
	}
	text := query.Get("timeout")
	if text != "" && text[len(text)-1] >= '0' && text[len(text)-1] <= '9' {
		text += "s"
	}
	wait, err := time.ParseDuration(text)
	switch {
	case err != nil || wait < 0 || wait > rejectedWait:
		return timeout{}, errInvalidTimeout
	case wait > maxWait:
		return timeout{maxWait, waitPreference(maxWait)}, nil
	}
	return timeout{duration: wait}, nil
}

func waitPreference(wait time.Duration) string {
	return "wait=" + strconv.Itoa(int(wait/time.Second))
}

// preferredWait returns the first preference "wait", in seconds.
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
