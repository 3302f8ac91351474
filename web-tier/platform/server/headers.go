package server

import (
	"net/http"
	"net/url"
	"unicode/utf8"
)

// ContentSecurityPolicy returns the Content-Security-Policy of a page (CSP level 3):
// nothing from other origins, nothing inline. mediaSources is added by pages that play a
// recording, since recordings are served by other hosts; it may be empty.
func ContentSecurityPolicy(mediaSources string) string {
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	if mediaSources != "" {
		policy += "; media-src " + mediaSources
	}
	return policy
}

var defaultPolicy = ContentSecurityPolicy("")

// securityHeaders sets the security headers of every response.
func (m *Middleware) securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", defaultPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		// Other sites see that a visitor came from this site, but not from which page.
		h.Set("Referrer-Policy", "strict-origin-when-cross-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		if m.secure {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

// requireUTF8 rejects URLs that are not UTF-8 once unescaped: the contract's strings are
// UTF-8, and a call with any other bytes would fail as an internal error.
func (m *Middleware) requireUTF8(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !utf8.ValidString(r.URL.Path) || !validQuery(r.URL.RawQuery) {
			m.handleProblem(w, r, notUTF8)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func validQuery(raw string) bool {
	if raw == "" {
		return true
	}
	unescaped, err := url.QueryUnescape(raw)
	return err == nil && utf8.ValidString(unescaped)
}
