package talks

import (
	"context"
	"sync"
	"time"
)

// languagesTTL is the time that the list of languages is cached.
const languagesTTL = 10 * time.Second

// languageCache caches the languages that talks have. Each list of talks includes them,
// and they rarely change. Once they expire, one caller reloads them while the others use
// the stale list.
type languageCache struct {
	mu      sync.Mutex
	list    []string
	loaded  time.Time // zero before the first load
	loading bool
}

// get returns the cached languages, or calls load if they have expired.
func (c *languageCache) get(ctx context.Context, load func(context.Context) ([]string, error)) ([]string, error) {
	c.mu.Lock()
	cached, found := c.list, !c.loaded.IsZero()
	if found && (c.loading || time.Since(c.loaded) < languagesTTL) {
		c.mu.Unlock()
		return cached, nil
	}
	c.loading = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.loading = false
	}()
	list, err := load(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list, c.loaded = list, time.Now()
	return list, nil
}
