package ui

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

// cookieName returns the session cookie's name. The prefix makes browsers
// refuse one that was not set by this host over TLS (RFC 6265bis, 4.1.3.2).
func (s *Site) cookieName() string {
	if s.Secure {
		return "__Host-session"
	}
	return "session"
}

// maxSession is the longest token the contract takes (VerifySessionRequest): a
// longer one was made up, and would make every page a bad request.
const maxSession = 200

// Session returns the session token that the browser sent; empty when none.
func (s *Site) Session(r *http.Request) string {
	cookie, err := r.Cookie(s.cookieName())
	if err != nil || len(cookie.Value) > maxSession {
		return ""
	}
	return cookie.Value
}

func (s *Site) setCookie(w http.ResponseWriter, value string, expires time.Time, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(), Value: value, Path: "/", Expires: expires, MaxAge: age,
		HttpOnly: true, Secure: s.Secure, SameSite: http.SameSiteLaxMode,
	})
}

// SignIn gives the browser a session.
func (v *Visit) SignIn(session *accountspb.Session) {
	v.Site.setCookie(v.Writer, session.Token, session.ExpireTime.AsTime(), 0)
}

// SignOut takes the session from the browser.
func (v *Visit) SignOut() { v.Site.setCookie(v.Writer, "", time.Unix(1, 0), -1) }

// LocalPath returns where to go next when that is a place on this site, and
// fallback otherwise: a link to sign in must not lead elsewhere.
func LocalPath(next, fallback string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return fallback
	}
	return next
}
