package account

import (
	"net/http"
	"strings"

	accountspb "techtalks.example/proto/techtalks/accounts/v1"
	"techtalks.example/web-tier/pages/ui"
)

// userAgent returns the User-Agent header, shortened to the contract's limit.
func userAgent(v *ui.PageContext) string {
	const maxLength = 300 // characters
	agent := []rune(strings.ToValidUTF8(v.Request.UserAgent(), ""))
	return string(agent[:min(len(agent), maxLength)])
}

// ChangePassword changes the account's password.
func ChangePassword(v *ui.PageContext) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	_, err := v.Site.Tier.Accounts.ChangePassword(v.Context(), &accountspb.ChangePasswordRequest{
		CurrentPassword: v.Request.PostForm.Get("current_password"),
		NewPassword:     v.Request.PostForm.Get("new_password"),
	})
	if err != nil {
		if f, status, ok := v.Submitted("current_password", "new_password").WithErrors(err, nil); ok {
			return show(v, status, f, ui.Fields{})
		}
		return err
	}
	return v.Redirect("/account?changed=password#change-password")
}

// EndSession revokes one of the account's sessions.
func EndSession(v *ui.PageContext) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	if _, err := v.Site.Tier.Accounts.RevokeSession(v.Context(), &accountspb.RevokeSessionRequest{
		Name: "sessions/" + v.Request.PathValue("session"),
	}); err != nil {
		return err
	}
	return v.Redirect("/account#sessions")
}

// SignOutEverywhere revokes all of the account's sessions, including this one.
func SignOutEverywhere(v *ui.PageContext) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	if _, err := v.Site.Tier.Accounts.SignOutEverywhere(v.Context(), &accountspb.SignOutEverywhereRequest{}); err != nil {
		return err
	}
	v.SignOut()
	return v.Redirect("/sign-in")
}

// CloseAccount permanently closes the account.
func CloseAccount(v *ui.PageContext) error {
	if err := v.ParseForm(); err != nil {
		return err
	}
	if _, err := v.Site.Tier.Accounts.CloseAccount(v.Context(), &accountspb.CloseAccountRequest{
		Password: v.Request.PostForm.Get("password"),
	}); err != nil {
		if f, status, ok := v.Submitted("password").WithErrors(err, nil); ok {
			return show(v, status, ui.Fields{}, f)
		}
		return err
	}
	v.SignOut()
	return v.Redirect("/account/closed")
}

// Closed confirms that an account was closed.
func Closed(v *ui.PageContext) error {
	if err := v.FetchAll(); err != nil {
		return err
	}
	return v.Render(http.StatusOK, closedPage(v))
}

// product maps a token of a User-Agent header to a product name.
type product struct{ token, name string }

// The first match wins: browsers also claim to be the browsers they are compatible with.
var (
	browsers = []product{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"}, {"curl/", "curl"},
	}
	systems = []product{
		{"Windows", "Windows"}, {"Android", "Android"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Mac OS X", "macOS"},
		{"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	}
)

// browserName returns a short name for a User-Agent: "Firefox on Linux".
func browserName(userAgent string) string {
	browser, system := findProduct(browsers, userAgent), findProduct(systems, userAgent)
	switch {
	case browser != "" && system != "":
		return browser + " on " + system
	case browser != "" || system != "":
		return browser + system
	case userAgent == "":
		return "Unknown browser"
	}
	const maxLength = 40 // characters
	agent := []rune(userAgent)
	if len(agent) > maxLength {
		return string(agent[:maxLength]) + "…"
	}
	return userAgent
}

// findProduct returns the name of the first product whose token is in userAgent.
func findProduct(products []product, userAgent string) string {
	for _, p := range products {
		if strings.Contains(userAgent, p.token) {
			return p.name
		}
	}
	return ""
}
