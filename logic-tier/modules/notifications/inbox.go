package notifications

import (
	"context"
	"math"

	"techtalks.example/logic-tier/platform/apperror"
	notificationspb "techtalks.example/proto/techtalks/notifications/v1"
)

const (
	// maxUnread caps the unread count; the bell needs no exact number beyond it.
	maxUnread = 100
	// Page sizes of the contract.
	defaultPage = 50
	maxPage     = 200
)

var errCursor = apperror.InvalidField("CURSOR_INVALID", "ids", `use ids as the server returned them, "<epoch>-<sequence>"`)

// listAfter returns up to limit items that arrived after a cursor, or a reset if the
// cursor is not valid.
func (m *Module) listAfter(ctx context.Context, account int64, after string, limit int) (items []item, epoch string, reset *notificationspb.Reset, err error) {
	c, wellFormed := parseCursor(after)
	if wellFormed {
		items, err = m.store.itemsAfter(ctx, account, c.sequence, limit)
		if err != nil {
			return nil, "", nil, err
		}
	}
	// Read the bounds after the items, so that they include every trim that the read of
	// the items could have missed.
	b, err := m.store.bounds(ctx, account)
	if err != nil {
		return nil, "", nil, err
	}
	var reason notificationspb.Reset_Reason
	switch {
	case !wellFormed:
		reason = notificationspb.Reset_REASON_MALFORMED
	case c.epoch != b.epoch:
		reason = notificationspb.Reset_REASON_OTHER_EPOCH
	case c.sequence < b.trimmedThrough:
		reason = notificationspb.Reset_REASON_TRIMMED
	case c.sequence > b.lastArrival:
		reason = notificationspb.Reset_REASON_AHEAD
	default:
		return items, b.epoch, nil, nil
	}
	newest, _, err := m.store.inbox(ctx, account)
	if err != nil {
		return nil, "", nil, err
	}
	return nil, b.epoch, &notificationspb.Reset{Reason: reason, Cursor: newest.String()}, nil
}

// markRead marks the given items, and all items up to and including the cursor through,
// as read. It ignores cursors of another epoch, whose items no longer exist.
func (m *Module) markRead(ctx context.Context, account int64, ids []string, through string) error {
	epoch, err := m.epoch(ctx)
	if err != nil {
		return err
	}
	b, err := m.store.bounds(ctx, account)
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
			return apperror.InvalidField("CURSOR_INVALID", "through", `use a cursor as the server returned it, "<epoch>-<sequence>"`)
		}
		if c.epoch == epoch {
			// Items that have not arrived yet stay unread.
			last = min(c.sequence, b.lastArrival)
		}
	}
	return m.store.markRead(ctx, account, arrivals, last)
}

// pageSize returns the page size to use for the requested one.
func pageSize(requested int32) int {
	if requested == 0 {
		return defaultPage
	}
	return min(int(requested), maxPage)
}

// parsePageToken returns the arrival that a page token continues from: that of the last
// item of the previous page.
func parsePageToken(token string) (int64, error) {
	if token == "" {
		return math.MaxInt64, nil
	}
	c, ok := parseCursor(token)
	if !ok {
		return 0, apperror.InvalidField("PAGE_TOKEN_INVALID", "page_token", "use next_page_token of the previous page, or start again without a token")
	}
	return c.sequence, nil
}
