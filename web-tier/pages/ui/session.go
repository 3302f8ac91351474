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

// SessionCookieName returns the name of the session cookie for host, the value of the Host
// header. Browsers send a cookie to every port of a host (RFC 6265, 8.5). The name therefore
// includes the port, so that sites on the same host name do not overwrite each other's
// sessions. If secure is true, the name has the prefix __Host-: browsers then reject the
// cookie unless this host set it over TLS (RFC 6265bis, 4.1.3.2).
func SessionCookieName(host string, secure bool) string {
	name := "session"
	if secure {
		name = "__Host-session"
	}
	_, port, _ := net.SplitHostPort(host)
	// Browsers omit default ports. A port that is not a number could be invalid in a cookie name.
	if n, err := strconv.ParseUint(port, 10, 16); err == nil && n != 80 && n != 443 {
		name = fmt.Sprintf("%s-%d", name, n)
	}
	return name
}

// maxSessionLen is the maximum length of a session token in the contract
// (VerifySessionRequest). A longer token is forged; sending it would fail every page with
// InvalidArgument, so it is ignored.
const maxSessionLen = 200

// Session returns the request's session token, or "" if it has none.
func (s *Site) Session(r *http.Request) string {
	cookie, err := r.Cookie(SessionCookieName(r.Host, s.Secure))
	if err != nil || len(cookie.Value) > maxSessionLen {
		return ""
	}
	return cookie.Value
}

func (v *PageContext) setSessionCookie(value string, expires time.Time, maxAge int) {
	http.SetCookie(v.Writer, &http.Cookie{
		Name: SessionCookieName(v.Request.Host, v.Site.Secure), Value: value, Path: "/", Expires: expires, MaxAge: maxAge,
		HttpOnly: true, Secure: v.Site.Secure, SameSite: http.SameSiteLaxMode,
	})
}

// SignIn sets the session cookie.
func (v *PageContext) SignIn(session *accountspb.Session) {
	v.setSessionCookie(session.Token, session.ExpireTime.AsTime(), 0)
}

// SignOut deletes the session cookie.
func (v *PageContext) SignOut() { v.setSessionCookie("", time.Unix(1, 0), -1) }

// LocalPath returns next if it is a path on this site, and fallback otherwise. It keeps the
// sign-in page from being an open redirect.
func LocalPath(next, fallback string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || !strings.HasPrefix(next, "/") ||
		strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return fallback
	}
	return next
}
