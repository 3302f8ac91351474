package notifications

import (
	"context"
	"math"

	"techtalks.example/logic-tier/platform/apperror"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

const (
	// maxUnread is where counting unread items stops: a bell that says "100"
	// says enough.
	maxUnread = 100
	// Page sizes of the contract.
	defaultPage = 50
	maxPage     = 200
)

var errCursor = apperror.InvalidField("CURSOR_INVALID", "ids", `use ids as they were given, "<epoch>-<sequence>"`)

// listAfter returns what arrived after a cursor, or why the cursor cannot be
// honoured.
func (m *Module) listAfter(ctx context.Context, account int64, after string, most int) (items []item, epoch string, reset *notificationspb.Reset, err error) {
	from, wellFormed := parseCursor(after)
	if wellFormed {
		items, err = m.store.itemsAfter(ctx, account, from.sequence, most)
		if err != nil {
			return nil, "", nil, err
		}
	}
	// After the items: what was trimmed before they were read shows here.
	at, err := m.store.bounds(ctx, account)
	if err != nil {
		return nil, "", nil, err
	}
	var reason notificationspb.Reset_Reason
	switch {
	case !wellFormed:
		reason = notificationspb.Reset_REASON_MALFORMED
	case from.epoch != at.epoch:
		reason = notificationspb.Reset_REASON_OTHER_EPOCH
	case from.sequence < at.trimmed:
		reason = notificationspb.Reset_REASON_TRIMMED
	case from.sequence > at.drawn:
		reason = notificationspb.Reset_REASON_AHEAD
	default:
		return items, at.epoch, nil, nil
	}
	newest, _, err := m.store.inbox(ctx, account)
	if err != nil {
		return nil, "", nil, err
	}
	return nil, at.epoch, &notificationspb.Reset{Reason: reason, Cursor: newest.String()}, nil
}

// markRead marks items, and everything through a cursor, as read. A cursor of
// another epoch names items that are not there: it is passed over.
func (m *Module) markRead(ctx context.Context, account int64, ids []string, through string) error {
	epoch, err := m.epoch(ctx)
	if err != nil {
		return err
	}
	at, err := m.store.bounds(ctx, account)
	if err != nil {
		return err
	}
	var arrivals []int64
	for _, id := range ids {
		c, ok := parseCursor(id)
		if !ok {
			return errCursor
		}
		if c.epoch == epoch {
			arrivals = append(arrivals, c.sequence)
		}
	}
	var last int64
	if through != "" {
		c, ok := parseCursor(through)
		if !ok {
			return apperror.InvalidField("CURSOR_INVALID", "through", `use a cursor as it was given, "<epoch>-<sequence>"`)
		}
		if c.epoch == epoch {
			// Not beyond what was ever delivered: what is yet to come is unread.
			last = min(c.sequence, at.drawn)
		}
	}
	return m.store.markRead(ctx, account, arrivals, last)
}

// pageSize returns how many items a page has.
func pageSize(asked int32) int {
	switch {
	case asked == 0:
		return defaultPage
	default:
		return min(int(asked), maxPage)
	}
}

// olderThan reads a page token: the id of the last item of the page before.
func olderThan(token string) (int64, error) {
	if token == "" {
		return math.MaxInt64, nil
	}
	c, ok := parseCursor(token)
	if !ok {
		return 0, apperror.InvalidField("PAGE_TOKEN_INVALID", "page_token", "use next_page_token of the page before, or start again without one")
	}
	return c.sequence, nil
}
