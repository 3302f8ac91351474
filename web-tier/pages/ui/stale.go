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
	// maxStale is how old a page may be that stands in for one that cannot be made.
	maxStale = time.Hour
	// renewStale is how old a kept page must be to be replaced by a new one: a page
	// that is asked for often is not copied as often.
	renewStale = 2 * time.Second
	// maxStalePages and maxStalePage bound what is kept: 16 MB.
	maxStalePages = 256
	maxStalePage  = 64 << 10
)

// stale keeps the latest pages that anybody may see, for when the logic tier cannot
// answer (RFC 5861, stale-if-error). They are no state: to lose them loses nothing.
type stale struct {
	mu    sync.Mutex
	pages map[string]stalePage
}

type stalePage struct {
	body []byte
	made time.Time
}

// keep keeps a copy of a page.
func (s *stale) keep(address string, body []byte, now time.Time) {
	if len(body) > maxStalePage {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, is := s.pages[address]; is && now.Sub(before.made) < renewStale {
		return
	}
	if s.pages == nil {
		s.pages = map[string]stalePage{}
	}
	if _, is := s.pages[address]; !is && len(s.pages) >= maxStalePages {
		for other := range s.pages { // any: which will be asked for, nobody knows
			delete(s.pages, other)
			break
		}
	}
	s.pages[address] = stalePage{bytes.Clone(body), now}
}

func (s *stale) page(address string, now time.Time) (stalePage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, is := s.pages[address]
	return p, is && now.Sub(p.made) < maxStale
}

// public says whether the page is one that anybody may see.
func (v *Visit) public() bool {
	return v.session == "" && v.Request.Method == http.MethodGet && !v.PrefersJSON()
}

// StandIn answers a request for a page that there is no room to make with the page as it
// was; false when there is none, or it is not anybody's.
func (s *Site) StandIn(w http.ResponseWriter, r *http.Request) bool {
	v, done := s.visit(w, r, logicclient.PageBudget)
	defer done()
	return v.standIn()
}

// passes says whether a problem is one that passes, so that a page as it was may stand in
// for the one that cannot be made now.
func passes(p *logicclient.Problem) bool {
	return p.Status == http.StatusServiceUnavailable || p.Status == http.StatusGatewayTimeout
}

// standIn answers with the page as it was, and says so on it; false when there is none,
// or it is not anybody's.
func (v *Visit) standIn() bool {
	if !v.public() {
		return false
	}
	now := time.Now()
	kept, is := v.Site.stale.page(v.Request.URL.RequestURI(), now)
	if !is {
		return false
	}
	before, after, found := bytes.Cut(kept.body, []byte("<main"))
	if !found {
		return false
	}
	note := fmt.Sprintf(`<p class="stale" role="status">This page cannot be made anew just now. This is how it was at %s UTC.</p><main`, kept.made.UTC().Format("15:04:05"))
	// At once: what is answered in the place of pages that cannot be made is many, and
	// each write of it is a call of the system.
	page := slices.Concat(before, []byte(note), after)
	h := v.Writer.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(page)))
	h.Set("Cache-Control", "no-store")
	h.Set("Age", strconv.Itoa(int(now.Sub(kept.made).Seconds())))
	v.Writer.WriteHeader(http.StatusOK)
	_, _ = v.Writer.Write(page) // the browser may be gone
	return true
}
