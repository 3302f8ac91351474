package markdown

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestCacheRendersTextOnce(t *testing.T) {
	c := newCache(1 << 20)
	var renders atomic.Int32
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			d := c.get("text", func(text string) document {
				renders.Add(1)
				return document{html: "<p>" + text}
			})
			if d.html != "<p>text" {
				t.Errorf("got %q", d.html)
			}
		})
	}
	callers.Wait()
	if n := renders.Load(); n != 1 {
		t.Errorf("16 concurrent callers rendered the text %d times, want once", n)
	}
}

func TestCacheEvictsLeastRecentlyUsedAtByteLimit(t *testing.T) {
	const limit, texts = 100_000, 200
	c := newCache(limit)
	renders := map[string]int{}
	get := func(text string) {
		c.get(text, func(string) document {
			renders[text]++
			return document{html: strings.Repeat("x", 1000)}
		})
	}
	for i := range texts {
		get("popular")
		get(fmt.Sprint(i))
		bytes := 0
		for e := c.recent.Front(); e != nil; e = e.Next() {
			bytes += e.Value.(entry).size()
		}
		if bytes > limit || bytes != c.size || c.recent.Len() != len(c.entries) {
			t.Fatalf("%d bytes in %d entries; counted %d bytes in %d entries, limit %d", bytes, c.recent.Len(), c.size, len(c.entries), limit)
		}
	}
	get("0")
	if renders["popular"] != 1 || renders["0"] != 2 {
		t.Errorf("rendered the popular text %d times, want 1; the first %d times, want 2", renders["popular"], renders["0"])
	}
	c.get("large", func(string) document { return document{html: strings.Repeat("x", 2*limit)} })
	if c.size > limit {
		t.Errorf("got %d bytes after adding a document larger than the limit", c.size)
	}
}
