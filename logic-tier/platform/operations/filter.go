package operations

import (
	"regexp"
	"strings"

	"techtalks.example/logic-tier/platform/apperror"
)

// filter is which operations a list has; empty fields let all through.
type filter struct {
	kind string
	done string // "true" or "false"
}

// Two restrictions of AIP-160 joined by AND are all that a list of handles needs.
var restriction = regexp.MustCompile(`^(kind|done)\s*=\s*"?([a-z]+)"?$`)

var conjunction = regexp.MustCompile(`\s+AND\s+`)

// parseFilter reads `done = false AND kind = "import"`.
func parseFilter(text string) (f filter, err error) {
	bad := apperror.InvalidField("FILTER_INVALID", "filter", `use done = true, done = false, kind = "import", or two of them joined by AND; or leave it empty`)
	if strings.TrimSpace(text) == "" {
		return f, nil
	}
	for _, part := range conjunction.Split(strings.TrimSpace(text), 3) {
		found := restriction.FindStringSubmatch(part)
		switch {
		case found == nil:
			return filter{}, bad
		case found[1] == "kind" && f.kind == "":
			f.kind = found[2]
		case found[1] == "done" && f.done == "" && (found[2] == "true" || found[2] == "false"):
			f.done = found[2]
		default:
			return filter{}, bad
		}
	}
	return f, nil
}
