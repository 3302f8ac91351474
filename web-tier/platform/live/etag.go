package live

import (
	"net/http"
	"slices"
	"strings"
)

// The entity tag of an answer is its cursor (RFC 9110, 8.8.3). So a client that
// only knows how to make conditional requests follows as well as one that sends
// the cursor itself.
func etag(at cursor) string { return `"` + at.String() + `"` }

// anyTag is the If-None-Match that every answer matches.
const anyTag = "*"

// entityTags returns the tags in If-None-Match, weak ones as if they were not
// (13.1.2); what is none is passed over.
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
		tag, more, closed := strings.Cut(after, `"`)
		if !closed {
			return tags
		}
		tags, rest = append(tags, tag), more
	}
}

// seen says whether the client has what an answer with this cursor would say.
func seen(r *http.Request, at cursor) bool {
	tags := entityTags(r)
	return slices.Contains(tags, at.String()) || slices.Contains(tags, anyTag)
}

// askedAfter returns the cursor that a poll goes on from: the parameter "after",
// or else the entity tag; empty for now.
func askedAfter(r *http.Request) string {
	if after := r.URL.Query().Get("after"); after != "" {
		return sendable(after)
	}
	if tags := entityTags(r); len(tags) > 0 && tags[0] != anyTag {
		return sendable(tags[0])
	}
	return ""
}
