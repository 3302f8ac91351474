package media

import (
	"bytes"
	"fmt"
	"net/http"

	"techtalks.example/logic-tier/platform/apperror"
)

// errUnusable is that an upload is no recording that can be taken; its message
// says what was seen and what to do.
var errUnusable = apperror.New(apperror.Invalid, "RECORDING_UNUSABLE", "")

func unusable(format string, arguments ...any) error {
	return apperror.New(apperror.Invalid, errUnusable.Reason, fmt.Sprintf(format, arguments...))
}

// container is how a file holds its streams.
type container struct {
	// demuxer is the only one of ffmpeg's that may read it: others follow names to
	// other files, and none of them is asked for.
	demuxer     string
	contentType string
}

var (
	mp4       = container{"mov", "video/mp4"}
	quickTime = container{"mov", "video/quicktime"}
	webm      = container{"matroska", "video/webm"}
	matroska  = container{"matroska", "video/x-matroska"}
)

// sniffed is how many of a file's first bytes tell its container.
const sniffed = 64

// sniff tells a file's container by its first bytes, whatever its name says.
func sniff(first []byte) (container, error) {
	switch {
	case len(first) >= 12 && string(first[4:8]) == "ftyp":
		if string(first[8:12]) == "qt  " {
			return quickTime, nil
		}
		return mp4, nil
	case len(first) >= 8 && (string(first[4:8]) == "moov" || string(first[4:8]) == "wide" || string(first[4:8]) == "mdat"):
		return quickTime, nil // from before files said what they are
	case bytes.HasPrefix(first, []byte{0x1a, 0x45, 0xdf, 0xa3}):
		if bytes.Contains(first, []byte("webm")) {
			return webm, nil
		}
		return matroska, nil
	}
	return container{}, unusable("this is not a video that can be published: it looks like %s. Upload an MP4 or WebM file.", http.DetectContentType(first))
}
