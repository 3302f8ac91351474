package server

import (
	"net/http"
	"net/url"
	"unicode/utf8"
)

// Policy is the Content-Security-Policy of every page (CSP level 3): nothing
// from elsewhere, nothing inline. media is what a page that plays a recording
// adds, since recordings are on other hosts; empty for none.
func Policy(media string) string {
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	if media != "" {
		policy += "; media-src " + media
	}
	return policy
}

var policy = Policy("")

// headers binds browsers.
func (p *Passage) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		// Other sites learn that somebody came from here, not from which page.
		h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if p.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// textOnly refuses addresses that are no text: the contract's strings are UTF-8,
// and a call with any other bytes would fail as if it were our fault.
func (p *Passage) textOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !utf8.ValidString(r.URL.Path) || !textQuery(r.URL.RawQuery) {
			p.refuse(w, r, noText)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func textQuery(raw string) bool {
	if raw == "" {
		return true
	}
	plain, err := url.QueryUnescape(raw)
	return err == nil && utf8.ValidString(plain)
}
