package notifications

import (
	"slices"
	"testing"
)

func TestParseCursorRejectsMalformedCursors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "-", "0123abcd", "0123abcd-", "0123abcd--1", "0123abcd-01", "0123abcd-+1", "0123ABCD-1", "0123abcd-1 ", "123-1", "0123abcd-99999999999999999999"} {
		if c, ok := parseCursor(text); ok {
			t.Errorf("parseCursor(%q) = %v, want it rejected", text, c)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("0123abcd-17")
	f.Fuzz(func(t *testing.T, text string) {
		if c, ok := parseCursor(text); ok && c.String() != text {
			t.Fatalf("parseCursor(%q).String() = %q", text, c)
		}
	})
}

func TestAnnouncementRoundTrips(t *testing.T) {
	t.Parallel()
	want := announcement{event: 7, arrival: 9}
	for i := range int64(chunkSize) {
		want.accounts = append(want.accounts, (i+1)*(1<<35/chunkSize))
	}
	payload := want.encode()
	if len(payload) >= 8000 {
		t.Fatalf("a full announcement has %d bytes, want fewer than NOTIFY's limit of 8000", len(payload))
	}
	got, err := decodeAnnouncement(payload)
	if err != nil || got.event != want.event || got.arrival != want.arrival || !slices.Equal(got.accounts, want.accounts) {
		t.Fatalf("got %d accounts and error %v, want the %d encoded", len(got.accounts), err, len(want.accounts))
	}
}

func FuzzAnnouncement(f *testing.F) {
	f.Add(announcement{1, 2, []int64{3, 4}}.encode())
	f.Fuzz(func(t *testing.T, payload string) { _, _ = decodeAnnouncement(payload) })
}

func TestLanesAreAscendingAndDistinct(t *testing.T) {
	t.Parallel()
	got := lanesFor([]int64{1, 5000, 1 << 30, 1<<30 + 1, 3 << 12})
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Fatalf("got lanes %v, want them ascending and distinct", got)
	}
}
