package live

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
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

// frame is an event as it goes over the wire (WHATWG HTML, section 9.2, Server-sent
// events), encoded once for however many browsers get it.
type frame struct {
	cursor
	bytes []byte
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
	return &frame{at, fmt.Appendf(nil, "id: %s\nevent: %s\ndata: %s\n\n", id, event, json)}, nil
}

func notificationFrame(n *notificationspb.Notification) (*frame, error) {
	return newFrame("notification", n.Id, n)
}

func resetFrame(r *notificationspb.Reset) (*frame, error) {
	return newFrame("reset", r.Cursor, r)
}
