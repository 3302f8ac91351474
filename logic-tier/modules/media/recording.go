package media

import "time"

// recording is a published video.
type recording struct {
	id         string
	account    int64
	upload     string // the upload that has become the recording
	operation  string // the transcode operation
	request    string // the request that started the operation
	duration   time.Duration
	renditions []rendition // in order of preference for playing
	hasPoster  bool
	leftOut    []string // the steps that were skipped and why, for the owner to read
}

// rendition is a file of a recording: its original, its 480p version or its poster.
type rendition struct {
	name                  string // fileOriginal, file480p or filePoster
	file                  int64
	size                  int64
	contentType, fileName string
	width, height         int
}
