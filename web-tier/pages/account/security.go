package account

import (
	"net/http"
	"strings"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/web-tier/pages/ui"
)

// userAgent returns the browser's User-Agent as the contract takes it.
func userAgent(v *ui.Visit) string {
	const longest = 300
	agent := []rune(strings.ToValidUTF8(v.Request.UserAgent(), ""))
	return string(agent[:min(len(agent), longest)])
}

// ChangePassword sets a new password.
func ChangePassword(v *ui.Visit) error {
	if asked, err := posted(v); !asked {
		return err
	}
	_, err := v.Site.Tier.Accounts.ChangePassword(v.Context(), &accountspb.ChangePasswordRequest{
		CurrentPassword: v.Request.PostForm.Get("current_password"),
		NewPassword:     v.Request.PostForm.Get("new_password"),
	})
	if err != nil {
		if f, status, again := v.Typed("current_password", "new_password").Refused(err, nil); again {
			return show(v, status, f, ui.Fields{})
		}
		return err
	}
	return v.Redirect("/account?changed=password#change-password")
}

// EndSession signs one browser of the account out.
func EndSession(v *ui.Visit) error {
	if asked, err := posted(v); !asked {
		return err
	}
	if _, err := v.Site.Tier.Accounts.RevokeSession(v.Context(), &accountspb.RevokeSessionRequest{
		Name: "sessions/" + v.Request.PathValue("session"),
	}); err != nil {
		return err
	}
	return v.Redirect("/account#sessions")
}

// SignOutEverywhere signs every browser of the account out, this one too.
func SignOutEverywhere(v *ui.Visit) error {
	if asked, err := posted(v); !asked {
		return err
	}
	if _, err := v.Site.Tier.Accounts.SignOutEverywhere(v.Context(), &accountspb.SignOutEverywhereRequest{}); err != nil {
		return err
	}
	v.SignOut()
	return v.Redirect("/sign-in")
}

// CloseAccount closes the account for good.
func CloseAccount(v *ui.Visit) error {
	if asked, err := posted(v); !asked {
		return err
	}
	if _, err := v.Site.Tier.Accounts.CloseAccount(v.Context(), &accountspb.CloseAccountRequest{
		Password: v.Request.PostForm.Get("password"),
	}); err != nil {
		if f, status, again := v.Typed("password").Refused(err, nil); again {
			return show(v, status, ui.Fields{}, f)
		}
		return err
	}
	v.SignOut()
	return v.Redirect("/account/closed")
}

// Closed tells whoever closed an account what happens next.
func Closed(v *ui.Visit) error {
	if err := v.Gather(); err != nil {
		return err
	}
	return v.Render(http.StatusOK, closedPage(v))
}

// posted reads a form of the account page; false when there is nothing more to do.
func posted(v *ui.Visit) (bool, error) {
	if !v.SignedIn() {
		return false, v.AskToSignIn()
	}
	err := v.Form()
	return err == nil, err
}

// name is a part of a User-Agent that tells what it is, and what people call that.
type name struct{ part, called string }

// The first that is found counts: browsers also name those that they resemble.
var (
	browsers = []name{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"},
	}
	systems = []name{
		{"Windows", "Windows"}, {"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

// browserName returns what people call a browser: "Firefox on Linux".
func browserName(userAgent string) string {
	browser, system := find(browsers, userAgent), find(systems, userAgent)
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "" || system != "":
		return browser + system
	case userAgent == "":
		return "Unknown browser"
	}
	const longest = 40
	agent := []rune(userAgent)
	if len(agent) > longest {
		return string(agent[:longest]) + "…"
	}
	return userAgent
}

func find(all []name, userAgent string) string {
	for _, n := range all {
		if strings.Contains(userAgent, n.part) {
			return n.called
		}
	}
	return ""
}
