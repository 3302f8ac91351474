package transfers

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxPath bounds a path in an archive, in bytes.
const maxPath = 1000

var drivePattern = regexp.MustCompile(`^[A-Za-z]:`)

// pathProblem returns why a path is invalid, or "" if it is valid. Imports never write to
// these paths; one that leads out of the archive means that the archive is hostile or was
// packed by a broken program.
func pathProblem(file string) string {
	switch {
	case len(file) > maxPath:
		return "the path is longer than 1,000 bytes; shorten it"
	case strings.Contains(file, `\`):
		return `the path contains a backslash; use a packer that separates names with /`
	case strings.HasPrefix(file, "/") || drivePattern.MatchString(file):
		return "the path is absolute; pack the folder itself, so that paths are relative to it"
	}
	for part := range strings.SplitSeq(file, "/") {
		if part == ".." {
			return "the path leads out of the archive with ..; pack the folder itself, so that paths are relative to it"
		}
	}
	return ""
}

// location is the channel and talk that a file's path stands for.
type location struct {
	channel  string // slug derived from the event's folder
	talk     string // slug derived from the file name; empty for category.json
	category bool
}

// locate parses a path in pyvideo's layout, below any parent folders. It reports false if
// the file is not part of the catalogue.
func locate(file string) (location, bool) {
	parts := strings.Split(path.Clean(file), "/")
	n := len(parts)
	switch {
	case slices.Contains(parts, "__MACOSX") || strings.HasPrefix(parts[n-1], "._"):
		// macOS stores a file's extended attributes next to it in "._<name>", and in
		// a .zip also below __MACOSX.
		return location{}, false
	case n >= 2 && parts[n-1] == "category.json":
		return location{channel: slug(parts[n-2], maxChannelSlug), category: true}, true
	case n >= 3 && parts[n-2] == "videos" && strings.HasSuffix(parts[n-1], ".json"):
		return location{
			channel: slug(parts[n-3], maxChannelSlug),
			talk:    slug(strings.TrimSuffix(parts[n-1], ".json"), maxTalkSlug),
		}, true
	}
	return location{}, false
}
