package markdown

import (
	"container/list"
	"crypto/sha256"
	"sync"

	"golang.org/x/sync/singleflight"
)

// cache is an LRU cache of rendered texts with a limit in bytes. Concurrent callers with the same
// text share one rendering.
type cache struct {
	limit int // bytes

	mu      sync.Mutex
	size    int                      // bytes
	entries map[digest]*list.Element // values are of type entry
	recent  list.List                // most recently used first

	flights singleflight.Group
}

// digest is the hash of a text. As a key it takes less memory than the text.
type digest [sha256.Size]byte

type entry struct {
	key digest
	document
}

// entryOverhead is the approximate memory of an entry besides its HTML, in bytes.
const entryOverhead = 256

func (e entry) size() int { return len(e.html) + entryOverhead }

func newCache(limit int) *cache {
	return &cache{limit: limit, entries: map[digest]*list.Element{}}
}

// get returns the cached document of text, or renders and caches it.
func (c *cache) get(text string, render func(string) document) document {
	key := digest(sha256.Sum256([]byte(text)))
	if d, ok := c.lookup(key); ok {
		return d
	}
	v, _, _ := c.flights.Do(string(key[:]), func() (any, error) {
		d, ok := c.lookup(key) // another flight may have just added it
		if !ok {
			d = render(text)
			c.add(entry{key, d})
		}
		return d, nil
	})
	return v.(document)
}

func (c *cache) lookup(key digest) (document, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[key]
	if !ok {
		return document{}, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(entry).document, true
}

func (c *cache) add(e entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries[e.key] = c.recent.PushFront(e)
	for c.size += e.size(); c.size > c.limit; {
		oldest := c.recent.Remove(c.recent.Back()).(entry)
		delete(c.entries, oldest.key)
		c.size -= oldest.size()
	}
}
