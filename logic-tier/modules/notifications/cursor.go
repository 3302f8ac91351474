package notifications

import (
	"regexp"
	"strconv"
	"strings"
)

// cursor is an item's id. A client that holds it has seen the item and every earlier
// arrival.
type cursor struct {
	epoch    string
	sequence int64
}

var epochPattern = regexp.MustCompile(`^[0-9a-z]{8}$`)

// parseCursor parses "<epoch>-<sequence>". It reports false unless text is exactly what
// String returns for some cursor.
func parseCursor(text string) (cursor, bool) {
	epoch, digits, found := strings.Cut(text, "-")
	if !found || !epochPattern.MatchString(epoch) {
		return cursor{}, false
	}
	sequence, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || sequence < 0 || strconv.FormatInt(sequence, 10) != digits {
		return cursor{}, false
	}
	return cursor{epoch, sequence}, true
}

// String returns the cursor as "<epoch>-<sequence>".
func (c cursor) String() string { return c.epoch + "-" + strconv.FormatInt(c.sequence, 10) }
