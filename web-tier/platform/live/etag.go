package live

import (
	"net/http"
	"slices"
	"strings"
)

// entityTag returns the ETag of a response: its cursor in quotes (RFC 9110, 8.8.3).
// A client that only knows conditional requests can thus follow a feed as well as one
// that sends the cursor itself.
func entityTag(c cursor) string { return `"` + c.String() + `"` }

// anyTag is the If-None-Match that matches every response.
const anyTag = "*"

// entityTags returns the tags in If-None-Match, without quotes and weakness prefixes
// (RFC 9110, 13.1.2). It ignores malformed tags.
func entityTags(r *http.Request) (tags []string) {
	rest := strings.Join(r.Header.Values("If-None-Match"), ",")
	if strings.TrimSpace(rest) == anyTag {
		return []string{anyTag}
	}
	for {
		_, after, found := strings.Cut(rest, `"`)
		if !found {
			return tags
		}
		tag, remainder, closed := strings.Cut(after, `"`)
		if !closed {
			return tags
		}
		tags, rest = append(tags, tag), remainder
	}
}

// matchesTag reports whether If-None-Match names the response with cursor c, which
// the client then has already.
func matchesTag(r *http.Request, c cursor) bool {
	tags := entityTags(r)
	return slices.Contains(tags, c.String()) || slices.Contains(tags, anyTag)
}

// requestedCursor returns the cursor that a poll resumes from: the parameter "after",
// or else the first entity tag, or else "", which means from now on.
func requestedCursor(r *http.Request) string {
	if after := r.URL.Query().Get("after"); after != "" {
		return sanitizeCursor(after)
	}
	if tags := entityTags(r); len(tags) > 0 && tags[0] != anyTag {
		return sanitizeCursor(tags[0])
	}
	return ""
}
