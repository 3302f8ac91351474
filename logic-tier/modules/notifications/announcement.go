package notifications

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// chunkSize is the number of inboxes that one transaction fills: enough to make the cost
// of the commit negligible, and few enough that the announcement fits into a NOTIFY and
// that lanes are held only briefly.
const chunkSize = 1000

// announcement reports the arrival of an event in a chunk of inboxes. It is the payload
// of the NOTIFY that commits with the inbox rows, so that every replica receives
// announcements in commit order, without a query.
type announcement struct {
	event    int64
	arrival  int64
	accounts []int64 // ascending
}

// encode returns the announcement as text: event and arrival, then the delta-encoded
// accounts. With chunkSize accounts below 2^35 it stays below the 8,000 bytes that
// NOTIFY accepts.
func (a announcement) encode() string {
	deltas := make([]byte, 0, 3*len(a.accounts))
	last := int64(0)
	for _, account := range a.accounts {
		deltas = binary.AppendUvarint(deltas, uint64(account-last))
		last = account
	}
	return strconv.FormatInt(a.event, 10) + " " + strconv.FormatInt(a.arrival, 10) + " " + base64.RawStdEncoding.EncodeToString(deltas)
}

func decodeAnnouncement(payload string) (a announcement, err error) {
	parts := strings.Split(payload, " ")
	if len(parts) != 3 {
		return a, fmt.Errorf("decode announcement: got %d fields, want 3", len(parts))
	}
	if a.event, err = strconv.ParseInt(parts[0], 10, 64); err != nil {
		return a, err
	}
	if a.arrival, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
		return a, err
	}
	deltas, err := base64.RawStdEncoding.DecodeString(parts[2])
	if err != nil {
		return a, err
	}
	last := int64(0)
	for len(deltas) > 0 {
		delta, n := binary.Uvarint(deltas)
		if n <= 0 {
			return a, fmt.Errorf("decode announcement: truncated account")
		}
		last += int64(delta)
		a.accounts = append(a.accounts, last)
		deltas = deltas[n:]
	}
	return a, nil
}
