package notifications

import (
	"slices"
	"testing"
)

func TestMadeUpCursorsAreNoCursors(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "-", "0123abcd", "0123abcd-", "0123abcd--1", "0123abcd-01", "0123abcd-+1", "0123ABCD-1", "0123abcd-1 ", "123-1", "0123abcd-99999999999999999999"} {
		if c, ok := parseCursor(text); ok {
			t.Errorf("%q was taken as %v", text, c)
		}
	}
}

func FuzzCursor(f *testing.F) {
	f.Add("0123abcd-17")
	f.Fuzz(func(t *testing.T, text string) {
		if c, ok := parseCursor(text); ok && c.String() != text {
			t.Fatalf("%q reads as %q", text, c)
		}
	})
}

func TestAnnouncementSurvivesTheWire(t *testing.T) {
	t.Parallel()
	want := announcement{event: 7, arrival: 9}
	for i := range int64(chunk) {
		want.accounts = append(want.accounts, (i+1)*(1<<35/chunk))
	}
	payload := want.encode()
	if len(payload) >= 8000 {
		t.Fatalf("a full announcement has %d bytes; NOTIFY takes fewer than 8000", len(payload))
	}
	got, err := decodeAnnouncement(payload)
	if err != nil || got.event != want.event || got.arrival != want.arrival || !slices.Equal(got.accounts, want.accounts) {
		t.Fatalf("got %d accounts, %v", len(got.accounts), err)
	}
}

func FuzzAnnouncement(f *testing.F) {
	f.Add(announcement{1, 2, []int64{3, 4}}.encode())
	f.Fuzz(func(t *testing.T, payload string) { _, _ = decodeAnnouncement(payload) })
}

func TestLanesAreLockedInOneOrder(t *testing.T) {
	t.Parallel()
	got := lanesOf([]int64{1, 5000, 1 << 30, 1<<30 + 1, 3 << 12})
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Fatalf("lanes %v are not ascending", got)
	}
}
