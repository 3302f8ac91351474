package uploads

import (
	"mime"
	"net/http"
	"strconv"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	"techtalks.example/web-tier/platform/logicclient"
)

// patch adds a piece at the end of an upload. When the client says only now how
// many bytes the file has, it says so with the last of them.
func (x *exchange) patch(name string) error {
	if !x.hasPiece() {
		return otherType
	}
	offset, err := strconv.ParseInt(x.r.Header.Get("Upload-Offset"), 10, 64)
	if err != nil || offset < 0 {
		return noOffset
	}
	var size *int64
	if said := x.r.Header.Get("Upload-Length"); said != "" {
		if size, err = parseLength(said); err != nil {
			return err
		}
		if x.r.ContentLength >= 0 && offset+x.r.ContentLength != *size {
			return notLast
		}
	}
	leave, err := x.uploads.enter(x.caller)
	if err != nil {
		return err
	}
	defer leave()
	upload, err := x.uploads.append(x.ctx, name, offset, x.r.Body, x.extend)
	if upload != nil {
		x.describe(upload)
	}
	if err != nil {
		return err
	}
	if upload, err = x.lengthened(upload, size); err != nil {
		return err
	}
	x.describe(upload)
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}

// hasPiece reports whether the body is a piece of a file, by its media type: the type is
// case-insensitive and can have parameters (RFC 9110, 8.3.1).
func (x *exchange) hasPiece() bool {
	kind, _, _ := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	return kind == octets
}

// lengthened makes an upload whole whose size was just said.
func (x *exchange) lengthened(upload *mediapb.Upload, size *int64) (*mediapb.Upload, error) {
	switch {
	case size == nil || upload.Whole || upload.Offset < *size:
		return upload, nil
	case upload.Offset > *size:
		return nil, notLast
	}
	return x.uploads.complete(x.ctx, upload.Name, *size)
}

var (
	otherType = &logicclient.Problem{Status: http.StatusUnsupportedMediaType, Title: "Another type",
		Message: "Send bytes as " + octets + "."}
	noOffset = &logicclient.Problem{Status: http.StatusBadRequest, Title: "No offset",
		Message: "Say in Upload-Offset where the bytes go: the number that HEAD answers."}
	notLast = &logicclient.Problem{Status: http.StatusBadRequest, Title: "Not the last bytes",
		Message: "Say Upload-Length with the request that has the last bytes: Upload-Offset and Content-Length must add up to it."}
)
