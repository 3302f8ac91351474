package uploads

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"techtalks.example/web-tier/platform/logicclient"
)

// create begins an upload; with a body of the right type, its first piece is
// taken too (creation-with-upload). It refuses a body of another type: the client
// would take it for stored.
func (x *exchange) create() error {
	piece := x.hasPiece()
	if !piece && x.r.ContentLength != 0 {
		return otherType
	}
	size, err := x.size()
	if err != nil {
		return err
	}
	file, err := readMetadata(x.r.Header.Get("Upload-Metadata"))
	if err != nil {
		return err
	}
	if piece {
		leave, err := x.uploads.enter(x.caller)
		if err != nil {
			return err
		}
		defer leave()
	}
	upload, err := x.uploads.create(x.ctx, file, size)
	if err != nil {
		return err
	}
	// Said in any case: should a piece break, it is how to go on.
	x.w.Header().Set("Location", "/"+upload.Name)
	if piece {
		if upload, err = x.uploads.append(x.ctx, upload.Name, 0, x.r.Body, x.extend); err != nil {
			return err
		}
	}
	x.describe(upload)
	x.w.WriteHeader(http.StatusCreated)
	return nil
}

// size returns the size that the client says the file has; nil when it will say
// later.
func (x *exchange) size() (*int64, error) {
	length, later := x.r.Header.Get("Upload-Length"), x.r.Header.Get("Upload-Defer-Length")
	switch {
	case length == "" && later == "1":
		return nil, nil
	case length == "" || later != "":
		return nil, noLength
	}
	return parseLength(length)
}

func parseLength(text string) (*int64, error) {
	size, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil && strings.Trim(text, "0123456789") == "" || size > maxSize:
		return nil, tooLarge
	case err != nil || size < 0:
		return nil, noLength
	case size == 0:
		return nil, empty
	}
	return &size, nil
}

var (
	noLength = &logicclient.Problem{Status: http.StatusBadRequest, Title: "No length",
		Message: "Say in Upload-Length how many bytes the file has, or say Upload-Defer-Length: 1; not both."}
	tooLarge = &logicclient.Problem{Status: http.StatusRequestEntityTooLarge, Title: "That is too large",
		Message: "A file may have 8 GiB."}
)

// words is a problem as a sentence, with what is wrong with which field.
func words(p *logicclient.Problem) string {
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
