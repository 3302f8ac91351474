package ui

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"techtalks.example/web-tier/platform/logicclient"
)

const (
	// maxStaleAge is the maximum age of a page that is served stale.
	maxStaleAge = time.Hour
	// staleRefreshInterval is the minimum age of a cached page before it is replaced, so that
	// a popular page is not copied for every request.
	staleRefreshInterval = 2 * time.Second
	// maxStalePages and maxStalePageSize limit the cache to 16 MB.
	maxStalePages    = 256
	maxStalePageSize = 64 << 10
)

// staleCache holds recently rendered public pages. They are served when the logic tier cannot
// respond (RFC 5861, stale-if-error). The cache is not state: losing it loses no data.
type staleCache struct {
	mu    sync.Mutex
	pages map[string]stalePage // by request URI
}

type stalePage struct {
	body       []byte
	renderTime time.Time
}

// put stores a copy of a page, unless the page is too large or a recent copy exists.
func (s *staleCache) put(uri string, body []byte, now time.Time) {
	if len(body) > maxStalePageSize {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if cached, ok := s.pages[uri]; ok && now.Sub(cached.renderTime) < staleRefreshInterval {
		return
	}
	if s.pages == nil {
		s.pages = map[string]stalePage{}
	}
	if _, ok := s.pages[uri]; !ok && len(s.pages) >= maxStalePages {
		for victim := range s.pages { // random eviction
			delete(s.pages, victim)
			break
		}
	}
	s.pages[uri] = stalePage{bytes.Clone(body), now}
}

func (s *staleCache) get(uri string, now time.Time) (stalePage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.pages[uri]
	return p, ok && now.Sub(p.renderTime) < maxStaleAge
}

// public reports whether the page is the same for every visitor.
func (v *PageContext) public() bool {
	return v.session == "" && v.Request.Method == http.MethodGet && !v.PrefersJSON()
}

// ServeStale responds with a cached copy of the requested page. It reports false, and does
// not respond, if the page is not public or there is no cached copy.
func (s *Site) ServeStale(w http.ResponseWriter, r *http.Request) bool {
	v := s.newContext(w, r, logicclient.PageBudget)
	defer v.close()
	return v.serveStale()
}

// isTransient reports whether p is likely to be resolved by itself, so that a stale page is
// better than an error.
func isTransient(p *logicclient.Problem) bool {
	return p.Status == http.StatusServiceUnavailable || p.Status == http.StatusGatewayTimeout
}

// serveStale implements Site.ServeStale. It adds a note with the page's age.
func (v *PageContext) serveStale() bool {
	if !v.public() {
		return false
	}
	now := time.Now()
	cached, ok := v.Site.stale.get(v.Request.URL.RequestURI(), now)
	if !ok {
		return false
	}
	head, tail, found := bytes.Cut(cached.body, []byte("<main"))
	if !found {
		return false
	}
	note := fmt.Sprintf(`<p class="stale" role="status">This page can’t be refreshed right now. You are seeing the version from %s UTC.</p><main`, cached.renderTime.UTC().Format("15:04:05"))
	// One write, and so one system call: under overload most responses are stale pages.
	page := slices.Concat(head, []byte(note), tail)
	h := v.Writer.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	h.Set("Cache-Control", "no-store")
	h.Set("Age", strconv.Itoa(int(now.Sub(cached.renderTime).Seconds())))
	v.Writer.WriteHeader(http.StatusOK)
	_, _ = v.Writer.Write(page) // the client may have disconnected
	return true
}
