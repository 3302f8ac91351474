package notifications

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// chunk is how many inboxes one transaction fills. Enough that the commit
// costs nothing beside the rows; few enough that the announcement fits into a
// NOTIFY and that nobody waits long for a lane.
const chunk = 1000

// announcement says that an event arrived in some inboxes. It travels as the
// payload of the NOTIFY that commits with the inbox rows: in the order of the
// commits, to every replica, without a query.
type announcement struct {
	event    int64
	arrival  int64
	accounts []int64 // ascending
}

// encode returns the announcement as text: numbers, then the accounts as
// differences. At chunk accounts below 2^35 it stays below the 8,000 bytes that
// Postgres takes.
func (a announcement) encode() string {
	differences := make([]byte, 0, 3*len(a.accounts))
	last := int64(0)
	for _, account := range a.accounts {
		differences = binary.AppendUvarint(differences, uint64(account-last))
		last = account
	}
	return strconv.FormatInt(a.event, 10) + " " + strconv.FormatInt(a.arrival, 10) + " " + base64.RawStdEncoding.EncodeToString(differences)
}

func decodeAnnouncement(payload string) (a announcement, err error) {
	parts := strings.Split(payload, " ")
	if len(parts) != 3 {
		return a, fmt.Errorf("announcement of %d parts", len(parts))
	}
	if a.event, err = strconv.ParseInt(parts[0], 10, 64); err != nil {
		return a, err
	}
	if a.arrival, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
		return a, err
	}
	differences, err := base64.RawStdEncoding.DecodeString(parts[2])
	if err != nil {
		return a, err
	}
	last := int64(0)
	for len(differences) > 0 {
		difference, n := binary.Uvarint(differences)
		if n <= 0 {
			return a, fmt.Errorf("announcement ends in the middle of an account")
		}
		last += int64(difference)
		a.accounts = append(a.accounts, last)
		differences = differences[n:]
	}
	return a, nil
}
