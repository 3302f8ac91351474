package pagetoken_test

import (
	"slices"
	"testing"

	"techtalks.example/logic-tier/platform/pagetoken"
)

type key struct {
	At int64 `json:"a"`
	ID int64 `json:"i"`
}

func TestTokenIsValidForOneQuery(t *testing.T) {
	t.Parallel()
	token := pagetoken.Token[key]{Key: key{1, 2}}.Encode(pagetoken.QueryFingerprint("a", "bc"))
	if got, err := pagetoken.Decode[key](token, pagetoken.QueryFingerprint("a", "bc")); err != nil || got.Key != (key{1, 2}) {
		t.Fatalf("Decode: got %v, %v", got, err)
	}
	if _, err := pagetoken.Decode[key](token, pagetoken.QueryFingerprint("ab", "c")); err == nil {
		t.Error("Decode accepted the token of another query")
	}
}

// Paging to the end and back returns every item once per direction, in order.
func TestCutPagesForwardAndBack(t *testing.T) {
	t.Parallel()
	const total, size = 23, 5
	read := func(from *pagetoken.Token[int]) (all []int) {
		switch {
		case from == nil:
			for i := 0; i < total; i++ {
				all = append(all, i)
			}
		case from.Backward:
			for i := from.Key - 1; i >= 0; i-- {
				all = append(all, i)
			}
		default:
			for i := from.Key + 1; i < total; i++ {
				all = append(all, i)
			}
		}
		return all[:min(len(all), size+1)]
	}
	walk := func(token string, pick func(next, previous string) string) (pages [][]int) {
		for {
			from, err := pagetoken.Decode[int](token, 7)
			if err != nil {
				t.Fatal(err)
			}
			items, next, previous := pagetoken.Cut(read(from), size, from, 7, func(i int) int { return i })
			pages = append(pages, slices.Clone(items))
			if token = pick(next, previous); token == "" {
				return pages
			}
		}
	}
	var lastPrevious string
	forward := walk("", func(next, previous string) string { lastPrevious = previous; return next })
	backward := walk(lastPrevious, func(_, previous string) string { return previous })
	slices.Reverse(backward)
	if got := slices.Concat(forward...); len(got) != total || !slices.IsSorted(got) {
		t.Errorf("forward: got %v", forward)
	}
	if got := slices.Concat(backward...); len(got) != total-len(forward[len(forward)-1]) || !slices.IsSorted(got) {
		t.Errorf("backward: got %v", backward)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(pagetoken.Token[key]{Key: key{1, 2}}.Encode(7))
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := pagetoken.Decode[key](text, 7); err == nil && got != nil && got.Encode(7) != text {
			t.Fatalf("Decode accepted %q, whose canonical form is %q", text, got.Encode(7))
		}
	})
}
