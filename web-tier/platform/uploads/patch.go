package uploads

import (
	"mime"
	"net/http"
	"strconv"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/web-tier/platform/logicclient"
)

// patch appends the body to an upload. If the client deferred the file's length, it sends the
// length with the last bytes.
func (x *exchange) patch(name string) error {
	if !x.hasBytes() {
		return errContentType
	}
	offset, err := strconv.ParseInt(x.r.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || offset < 0 {
		return errOffset
	}
	var size *int64
	if length := x.r.Header.Get("Upload-Length"); length != "" {
		if size, err = parseLength(length); err != nil {
			return err
		}
		if x.r.ContentLength >= 0 && offset+x.r.ContentLength != *size {
			return errNotLastBytes
		}
	}
	release, err := x.uploads.acquire(x.caller)
	if err != nil {
		return err
	}
	defer release()
	upload, err := x.uploads.append(x.ctx, name, offset, x.r.Body, x.extend)
	if upload != nil {
		x.describe(upload)
	}
	if err != nil {
		return err
	}
	if upload, err = x.completeDeferred(upload, size); err != nil {
		return err
	}
	x.describe(upload)
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// hasBytes reports whether the body holds bytes of a file, by its media type. The type is
// case-insensitive and can have parameters (RFC 9110, 8.3.1).
func (x *exchange) hasBytes() bool {
	mediaType, _, _ := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	return mediaType == octets
}

// completeDeferred completes an upload of deferred length once all size bytes have arrived. It
// returns other uploads unchanged.
func (x *exchange) completeDeferred(upload *mediapb.Upload, size *int64) (*mediapb.Upload, error) {
	switch {
	case size == nil || upload.Whole || upload.Offset < *size:
		return upload, nil
	case upload.Offset > *size:
		return nil, errNotLastBytes
	}
	return x.uploads.complete(x.ctx, upload.Name, *size)
}

var (
	errContentType = &logicclient.Problem{Status: http.StatusUnsupportedMediaType, Title: "Unsupported content type",
		Message: "Send the bytes with Content-Type: " + octets + "."}
	errOffset = &logicclient.Problem{Status: http.StatusBadRequest, Title: "Missing or invalid offset",
		Message: "Set Upload-Offset to the upload’s current offset, which HEAD returns."}
	errNotLastBytes = &logicclient.Problem{Status: http.StatusBadRequest, Title: "Not the last bytes",
		Message: "Set Upload-Length on the request with the last bytes: it must equal Upload-Offset plus Content-Length."}
)
