package live

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// cursor is the id of the last thing a browser has: "<epoch>-<sequence>".
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

// noCursor is what is asked with in the place of a cursor that the contract
// would not even take: it is none, and answered like any other that is none.
const noCursor = "-"

// sendable returns a cursor that a browser sent, as it can be sent on.
func sendable(after string) string {
	if len(after) > maxCursor || !utf8.ValidString(after) {
		return noCursor
	}
	return after
}

// frame is an event as it goes over the wire (WHATWG HTML, section 9.2, Server-sent
// events), encoded once for however many browsers get it.
type frame struct {
	cursor
	bytes []byte
	json  []byte // the event's data, of bytes; nil when it is none
	last  bool   // nothing comes after it
}

// plain writes messages on one line, in the contract's own field names.
var plain = protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}

func newFrame(event, id string, data proto.Message) (*frame, error) {
	at, ok := parseCursor(id)
	if !ok {
		return nil, fmt.Errorf("the logic tier sent the id %q, which is none", id)
	}
	json, err := plain.Marshal(data)
	if err != nil {
		return nil, err
	}
	bytes := fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", id, event, json)
	end := len(bytes) - len("\n\n")
	return &frame{cursor: at, bytes: bytes, json: bytes[end-len(json) : end]}, nil
}

// bareFrame is an id without data. It is no event, but the browser keeps it:
// should the connection break before the first event, it goes on from here.
func bareFrame(at cursor) *frame {
	return &frame{cursor: at, bytes: []byte("id: " + at.String() + "\n\n")}
}
