package live

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// cursor identifies an event, and thereby how far a client has read. Its text form
// is "<epoch>-<sequence>".
type cursor struct {
	epoch    string
	sequence int64
}

func parseCursor(text string) (cursor, bool) {
	epoch, digits, found := strings.Cut(text, "-")
	sequence, err := strconv.ParseInt(digits, 10, 64)
	return cursor{epoch, sequence}, found && epoch != "" && err == nil && sequence >= 0
}

func (c cursor) String() string { return c.epoch + "-" + strconv.FormatInt(c.sequence, 10) }

// invalidCursor replaces a cursor that breaks the contract's rules. The logic tier
// accepts it and answers it like any other invalid cursor.
const invalidCursor = "-"

// sanitizeCursor returns a client's cursor in a form that the contract accepts.
func sanitizeCursor(text string) string {
	if len(text) > maxCursorLength || !utf8.ValidString(text) {
		return invalidCursor
	}
	return text
}

// frame is a server-sent event in wire format (WHATWG HTML, section 9.2), encoded once
// for all its subscribers.
type frame struct {
	cursor
	bytes []byte
	json  []byte // the event's data, a part of bytes; nil for a cursor frame
	final bool   // no event follows
}

// marshaler writes messages on one line, with the contract's field names.
var marshaler = protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}

func newFrame(event, id string, data proto.Message) (*frame, error) {
	c, ok := parseCursor(id)
	if !ok {
		return nil, fmt.Errorf("the logic tier sent an invalid event id %q", id)
	}
	json, err := marshaler.Marshal(data)
	if err != nil {
		return nil, err
	}
	bytes := fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", id, event, json)
	end := len(bytes) - len("\n\n")
	return &frame{cursor: c, bytes: bytes, json: bytes[end-len(json) : end]}, nil
}

// cursorFrame returns an id without data. Browsers dispatch no event for it, but keep
// the id and resume from it if the connection breaks before the first event.
func cursorFrame(c cursor) *frame {
	return &frame{cursor: c, bytes: []byte("id: " + c.String() + "\n\n")}
}
