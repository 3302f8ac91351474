package transfers

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxPath bounds a path in an archive: what is longer is no name.
const maxPath = 1000

var drive = regexp.MustCompile(`^[A-Za-z]:`)

// wrongWith says why a path has no place in an archive; empty when it has one.
// Nothing is ever written to it: a path that leads somewhere else is the sign of
// an archive that was not meant for us, or made by a broken program.
func wrongWith(file string) string {
	switch {
	case len(file) > maxPath:
		return "its path is longer than 1,000 bytes: shorten its name"
	case strings.Contains(file, `\`):
		return `its path holds a backslash: pack the folder with a program that writes / between names`
	case strings.HasPrefix(file, "/") || drive.MatchString(file):
		return "its path begins at the root of a disk: pack the folder itself, with paths below it"
	}
	for part := range strings.SplitSeq(file, "/") {
		if part == ".." {
			return "its path leads out of the archive with ..: pack the folder itself, with paths below it"
		}
	}
	return ""
}

// place is what a file of a catalogue is, by its path.
type place struct {
	channel  string // the channel's last name part, from the event's folder
	talk     string // the talk's, from the file's name; empty for category.json
	category bool
}

// locate reads a path in pyvideo's layout, below any folders; false when the
// file is no part of it.
func locate(file string) (place, bool) {
	parts := strings.Split(path.Clean(file), "/")
	n := len(parts)
	switch {
	case slices.Contains(parts, "__MACOSX") || strings.HasPrefix(parts[n-1], "._"):
		// macOS stores a file's extended attributes beside it: in "._" and its
		// name, in a .zip also below __MACOSX.
		return place{}, false
	case n >= 2 && parts[n-1] == "category.json":
		return place{channel: slug(parts[n-2], maxChannelSlug), category: true}, true
	case n >= 3 && parts[n-2] == "videos" && strings.HasSuffix(parts[n-1], ".json"):
		return place{
			channel: slug(parts[n-3], maxChannelSlug),
			talk:    slug(strings.TrimSuffix(parts[n-1], ".json"), maxTalkSlug),
		}, true
	}
	return place{}, false
}
