package ui

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
)

// SessionCookieName returns the session cookie's name on the site at host, as in the Host
// header. Browsers send a cookie to every port of a host (RFC 6265, 8.5), so the name has
// the port: sites that share a host name do not sign each other's visitors out. The
// prefix makes browsers refuse a cookie that was not set by this host over TLS
// (RFC 6265bis, 4.1.3.2).
func SessionCookieName(host string, secure bool) string {
	name := "session"
	if secure {
		name = "__Host-session"
	}
	_, port, _ := net.SplitHostPort(host)
	// Browsers leave the default ports out. What is no number might be no cookie name either.
	if n, err := strconv.ParseUint(port, 10, 16); err == nil && n != 80 && n != 443 {
		name = fmt.Sprintf("%s-%d", name, n)
	}
	return name
}

// maxSession is the longest token the contract takes (VerifySessionRequest): a
// longer one was made up, and would make every page a bad request.
const maxSession = 200

// Session returns the session token that the browser sent; empty when none.
func (s *Site) Session(r *http.Request) string {
	cookie, err := r.Cookie(SessionCookieName(r.Host, s.Secure))
	if err != nil || len(cookie.Value) > maxSession {
		return ""
	}
	return cookie.Value
}

func (v *Visit) setCookie(value string, expires time.Time, age int) {
	http.SetCookie(v.Writer, &http.Cookie{
		Name: SessionCookieName(v.Request.Host, v.Site.Secure), Value: value, Path: "/", Expires: expires, MaxAge: age,
		HttpOnly: true, Secure: v.Site.Secure, SameSite: http.SameSiteLaxMode,
	})
}

// SignIn gives the browser a session.
func (v *Visit) SignIn(session *accountspb.Session) {
	v.setCookie(session.Token, session.ExpireTime.AsTime(), 0)
}

// SignOut takes the session from the browser.
func (v *Visit) SignOut() { v.setCookie("", time.Unix(1, 0), -1) }

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
