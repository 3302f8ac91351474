package media

import "time"

// recording is an upload that can be watched.
type recording struct {
	id         string
	account    int64
	upload     string // of which it was made
	operation  string // by which
	request    string // that asked for it
	duration   time.Duration
	renditions []rendition // the best to play first
	poster     bool
	leftOut    []string // what was not done and why, for people
}

// rendition is a file of a recording; its place among them is where it stands.
type rendition struct {
	name                  string // "original", "480p", "poster"
	file                  int64
	size                  int64
	contentType, fileName string
	width, height         int
}
