package notifications

import (
	"regexp"
	"strconv"
	"strings"
)

// cursor is an item's id, and what its holder has seen: the item and all that
// arrived before it.
type cursor struct {
	epoch    string
	sequence int64
}

var epochs = regexp.MustCompile(`^[0-9a-z]{8}$`)

// parseCursor reads "<epoch>-<sequence>"; false when text is not one that
// String could have written.
func parseCursor(text string) (cursor, bool) {
	epoch, digits, found := strings.Cut(text, "-")
	if !found || !epochs.MatchString(epoch) {
		return cursor{}, false
	}
	sequence, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || sequence < 0 || strconv.FormatInt(sequence, 10) != digits {
		return cursor{}, false
	}
	return cursor{epoch, sequence}, true
}

// String returns the id.
func (c cursor) String() string { return c.epoch + "-" + strconv.FormatInt(c.sequence, 10) }
