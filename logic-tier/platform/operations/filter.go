package operations

import (
	"regexp"
	"strings"

	"techtalks.example/logic-tier/platform/apperror"
)

// filter restricts a list of operations. Empty fields match all.
type filter struct {
	kind string
	done string // "true" or "false"
}

// restriction matches one AIP-160 restriction. The list supports these two fields,
// joined by AND.
var restriction = regexp.MustCompile(`^(kind|done)\s*=\s*"?([a-z]+)"?$`)

var conjunction = regexp.MustCompile(`\s+AND\s+`)

// parseFilter parses a filter such as `done = false AND kind = "import"`.
func parseFilter(text string) (f filter, err error) {
	errInvalid := apperror.InvalidField("FILTER_INVALID", "filter", `use done = true, done = false, kind = "import", or two of them joined by AND; or leave it empty`)
	if strings.TrimSpace(text) == "" {
		return f, nil
	}
	for _, term := range conjunction.Split(strings.TrimSpace(text), 3) {
		match := restriction.FindStringSubmatch(term)
		switch {
		case match == nil:
			return filter{}, errInvalid
		case match[1] == "kind" && f.kind == "":
			f.kind = match[2]
		case match[1] == "done" && f.done == "" && (match[2] == "true" || match[2] == "false"):
			f.done = match[2]
		default:
			return filter{}, errInvalid
		}
	}
	return f, nil
}
