package markdown

import (
	"container/list"
	"crypto/sha256"
	"sync"

	"golang.org/x/sync/singleflight"
)

// cache is an LRU cache of rendered texts, bounded in bytes. Callers that ask for
// the same text at the same time share one rendering.
type cache struct {
	limit int

	mu      sync.Mutex
	size    int
	entries map[digest]*list.Element // of entry
	recent  list.List                // the most recently used first

	flights singleflight.Group
}

// digest stands for a text, which would take as much memory again.
type digest [sha256.Size]byte

type entry struct {
	key digest
	document
}

// entryOverhead is about what an entry takes beyond its HTML.
const entryOverhead = 256

func (e entry) size() int { return len(e.html) + entryOverhead }

func newCache(limit int) *cache {
	return &cache{limit: limit, entries: map[digest]*list.Element{}}
}

// get returns the document of text, rendered by render unless it is cached.
func (c *cache) get(text string, render func(string) document) document {
	key := digest(sha256.Sum256([]byte(text)))
	if d, ok := c.lookup(key); ok {
		return d
	}
	v, _, _ := c.flights.Do(string(key[:]), func() (any, error) {
		d, ok := c.lookup(key) // another flight may have just landed
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
