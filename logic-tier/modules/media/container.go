package media

import (
	"bytes"
	"fmt"
	"net/http"

	"techtalks.example/logic-tier/platform/apperror"
)

// errUnusable matches every error that rejects an upload as a recording. The messages of
// the actual errors say what is wrong with the file and what to do.
var errUnusable = apperror.New(apperror.Invalid, "RECORDING_UNUSABLE", "")

// unusable returns an error that matches errUnusable.
func unusable(format string, arguments ...any) error {
	return apperror.New(apperror.Invalid, errUnusable.Reason, fmt.Sprintf(format, arguments...))
}

// container is a media container format.
type container struct {
	// demuxer is the only ffmpeg demuxer allowed to read the file. ffmpeg must not choose
	// one itself: some demuxers follow references to other files.
	demuxer     string
	contentType string
}

var (
	mp4       = container{"mov", "video/mp4"}
	quickTime = container{"mov", "video/quicktime"}
	webm      = container{"matroska", "video/webm"}
	matroska  = container{"matroska", "video/x-matroska"}
)

// sniffLen is the number of leading bytes that sniff needs.
const sniffLen = 64

// sniff detects a file's container from its first bytes, whatever its name or declared
// content type.
func sniff(prefix []byte) (container, error) {
	switch {
	case len(prefix) >= 12 && string(prefix[4:8]) == "ftyp":
		if string(prefix[8:12]) == "qt  " {
			return quickTime, nil
		}
		return mp4, nil
	case len(prefix) >= 8 && (string(prefix[4:8]) == "moov" || string(prefix[4:8]) == "wide" || string(prefix[4:8]) == "mdat"):
		return quickTime, nil // predates the ftyp box
	case bytes.HasPrefix(prefix, []byte{0x1a, 0x45, 0xdf, 0xa3}):
		if bytes.Contains(prefix, []byte("webm")) {
			return webm, nil
		}
		return matroska, nil
	}
	return container{}, unusable("this is not a supported video file: it looks like %s. Upload an MP4 or WebM file.", http.DetectContentType(prefix))
}
