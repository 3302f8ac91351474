package uploads

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"techtalks.example/web-tier/platform/logicclient"
)

// create creates an upload. If the request has a body of type octets, create stores it as the
// first bytes (creation-with-upload). It rejects a body of another type: the client would
// assume that the bytes are stored.
func (x *exchange) create() error {
	withBytes := x.hasBytes()
	if !withBytes && x.r.ContentLength != 0 {
		return errContentType
	}
	size, err := x.size()
	if err != nil {
		return err
	}
	file, err := readMetadata(x.r.Header.Get("Upload-Metadata"))
	if err != nil {
		return err
	}
	if withBytes {
		release, err := x.uploads.acquire(x.caller)
		if err != nil {
			return err
		}
		defer release()
	}
	upload, err := x.uploads.create(x.ctx, file, size)
	if err != nil {
		return err
	}
	// Set even if the first bytes fail: the client resumes at this URL.
	x.w.Header().Set("Location", "/"+upload.Name)
	if withBytes {
		if upload, err = x.uploads.append(x.ctx, upload.Name, 0, x.r.Body, x.extend); err != nil {
			return err
		}
	}
	x.describe(upload)
	x.w.WriteHeader(http.StatusCreated)
	return nil
}

// size returns the file's size according to the client, or nil if the client defers it.
func (x *exchange) size() (*int64, error) {
	length, deferred := x.r.Header.Get("Upload-Length"), x.r.Header.Get("Upload-Defer-Length")
	switch {
	case length == "" && deferred == "1":
		return nil, nil
	case length == "" || deferred != "":
		return nil, errLength
	}
	return parseLength(length)
}

func parseLength(text string) (*int64, error) {
	size, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil && strings.Trim(text, "0123456789") == "" || size > maxSize:
		return nil, errTooLarge
	case err != nil || size < 0:
		return nil, errLength
	case size == 0:
		return nil, errEmpty
	}
	return &size, nil
}

var (
	errLength = &logicclient.Problem{Status: http.StatusBadRequest, Title: "Missing or invalid length",
		Message: "Set either Upload-Length to the size of the file in bytes, or Upload-Defer-Length to 1, not both."}
	errTooLarge = &logicclient.Problem{Status: http.StatusRequestEntityTooLarge, Title: "File too large",
		Message: "A file can be up to 8 GiB. Choose a smaller one."}
)

// problemText returns p's field errors, one per line, or its message if it has none.
func problemText(p *logicclient.Problem) string {
	if len(p.Fields) == 0 {
		return p.Message
	}
	lines := make([]string, 0, len(p.Fields))
	for field, description := range p.Fields {
		lines = append(lines, field+": "+description)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
