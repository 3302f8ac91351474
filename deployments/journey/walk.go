package journey

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// unread selects the number of unread notifications at the bell; there is none if it is 0.
const unread = "#bell-count:not([hidden])"

// Walk publishes talks in one browser and follows their channel in another: live and
// missed notifications, reading, editing, withdrawing, unfollowing and signing out.
func Walk(t *testing.T, chromium context.Context, site string) {
	ada, grace := Browser(t, chromium, site), Browser(t, chromium, site)
	ada.SignUp("ada")
	handle, password := grace.SignUp("grace")
	channel := ada.CreateChannel("Engines & <b>Looms</b>")
	grace.Follow(channel)

	// Grace has the inbox open in one tab and another page in a second one.
	inbox, elsewhere := grace, grace.NewTab()
	inbox.Open("/inbox")
	elsewhere.Open("/talks")
	for _, tab := range []*Tab{inbox, elsewhere} {
		tab.WaitForTexts(unread)
		tab.Do("window.loaded = 1") // a reload would clear it
	}
	first := ada.Publish(channel, "On the <i>Analytical</i> Engine")
	inbox.WaitForTexts("#inbox .unread h3", "On the <i>Analytical</i> Engine")
	inbox.WaitForTexts(unread, "1")
	elsewhere.WaitForTexts("#toasts .toast a:last-child", "On the <i>Analytical</i> Engine")
	elsewhere.WaitForTexts(unread, "1")
	for _, tab := range []*Tab{inbox, elsewhere} {
		if !tab.EvalBool("window.loaded") {
			t.Errorf("the page at %s was reloaded", tab.Location())
		}
	}
	inbox.Screenshot("inbox-live")
	elsewhere.Screenshot("toast")

	// Talks published while both tabs are closed arrive in order, once.
	inbox.Leave()
	elsewhere.Leave()
	for n := range 3 {
		ada.Publish(channel, fmt.Sprintf("Note %d", n))
	}
	elsewhere.Open("/channels")
	elsewhere.WaitForTexts(unread, "4")
	inbox.Open("/inbox")
	inbox.WaitForTexts("#inbox h3", "Note 2", "Note 1", "Note 0", "On the <i>Analytical</i> Engine")

	// Marking one as read, then all, updates the other tab.
	inbox.Press("#inbox li:last-child form button")
	inbox.WaitForTexts(unread, "3")
	elsewhere.WaitForTexts(unread, "3")
	inbox.Press("#inbox-all button")
	inbox.WaitForTexts(unread)
	inbox.WaitForTexts("#inbox .unread")
	elsewhere.WaitForTexts(unread)

	// The talk is edited, then withdrawn.
	if status := grace.Open(first); status != http.StatusOK {
		t.Fatalf("talk page: got status %d, want 200", status)
	}
	grace.WaitForTexts("main h1", "On the <i>Analytical</i> Engine")
	if len(grace.Texts("main .danger")) > 0 {
		t.Error("grace can withdraw a talk of ada")
	}
	ada.Open(first)
	ada.Press("main .actions a")
	ada.Fill("title", "On Engines")
	ada.Fill("description", "# Notes\n\nRead [them](https://notes.example). <script>alert(1)</script>")
	ada.Fill("media_url", "https://talks.example/engines.mp4")
	ada.Press("main form[action$='/edit'] button")
	ada.WaitForTexts("main h1", "On Engines")
	ada.WaitForTexts(".prose :is(h2, h3, h4)", "Notes")
	if !ada.EvalBool(`document.querySelector("video source").src === "https://talks.example/engines.mp4" && !document.querySelector(".prose script")`) {
		t.Error("the player lacks the recording, or the description contains a script")
	}
	ada.Screenshot("talk")
	ada.Do("window.confirm = () => true")
	ada.Press("main .danger")
	if status := grace.Open(first); status != http.StatusGone {
		t.Errorf("withdrawn talk: got status %d, want 410", status)
	}
	grace.Screenshot("withdrawn")

	// An unfollowed channel sends no notifications; another followed one still does.
	other := ada.CreateChannel("Looms")
	grace.Open(channel)
	grace.Press("form[action$='/unfollow'] button")
	grace.Follow(other)
	ada.Publish(channel, "Not followed")
	ada.Publish(other, "Followed")
	grace.WaitForTexts(unread, "1")
	grace.Open("/inbox")
	grace.WaitForTexts("#inbox .unread h3", "Followed")

	// Signing out removes the bell; signing in restores it with its count.
	grace.Press("form[action='/sign-out'] button")
	if len(grace.Texts(".bell")) > 0 {
		t.Error("the bell is shown after signing out")
	}
	grace.SignIn(handle, password)
	grace.WaitForTexts(unread, "1")
}

// Browse searches, filters and pages through talks without an account.
func Browse(t *testing.T, chromium context.Context, site string) {
	visitor := Browser(t, chromium, site)
	browse(t, visitor)
}

func browse(t *testing.T, visitor *Tab) {
	t.Helper()
	visitor.Open("/")
	visitor.Screenshot("home")
	if got := visitor.Texts(".talks h3"); len(got) < 10 {
		t.Fatalf("home page: got %d talks, want at least 10: %q", len(got), got)
	}
	// Words of the title rank higher; case and accents are ignored.
	visitor.Fill("q", "SOFTWÄRE architecture design")
	visitor.Press("form[role=search] button")
	if got := visitor.Texts(".talks h3"); len(got) == 0 || got[0] != "Software architecture and communication design patterns" {
		t.Errorf("search: got %q", got)
	}
	visitor.Screenshot("search")
	visitor.Press(".talks h3 a")
	visitor.WaitForTexts("main h1", "Software architecture and communication design patterns")
	visitor.Screenshot("talk-anonymous")
	visitor.Press(".crumb a")
	if !strings.HasPrefix(visitor.Location(), "/channels/") {
		t.Errorf("link to a talk's channel: got %s", visitor.Location())
	}
	// Filters by language and by tag.
	visitor.Open("/talks?language=deu")
	german := visitor.Texts(".talks h3")
	if len(german) == 0 || len(german) == len(visitor.Texts("body .talks h3:not(*)")) {
		t.Errorf("talks in German: got %q", german)
	}
	for _, meta := range visitor.Texts(".talks .meta") {
		if !strings.Contains(meta, "German") {
			t.Errorf("talks in German: got a talk with %q", meta)
		}
	}
	visitor.Press(".talks .tag")
	if !strings.Contains(visitor.Location(), "tag=") || len(visitor.Texts(".talks h3")) == 0 {
		t.Errorf("link of a tag: got %s with %d talks", visitor.Location(), len(visitor.Texts(".talks h3")))
	}
	// Next page and back.
	visitor.Open("/talks")
	page := visitor.Texts(".talks h3")
	visitor.Press(".pager [rel=next]")
	next := visitor.Texts(".talks h3")
	if len(next) == 0 || strings.Join(next, "\n") == strings.Join(page, "\n") {
		t.Errorf("second page: got %q", next)
	}
	visitor.Press(".pager [rel=prev]")
	visitor.WaitForTexts(".talks h3", page...)
	// Missing pages and invalid parameters.
	for path, status := range map[string]int{
		"/nowhere":                  http.StatusNotFound,
		"/channels/nowhere":         http.StatusNotFound,
		"/channels/nowhere/talks/x": http.StatusNotFound,
		"/talks?page_token=made-up": http.StatusBadRequest,
		"/talks?q=" + url.QueryEscape(strings.Repeat("long ", 100)): http.StatusBadRequest,
	} {
		if got := visitor.Open(path); got != status {
			t.Errorf("%.60s: got status %d, want %d", path, got, status)
		}
		if len(visitor.Texts("main h1")) != 1 || len(visitor.Texts("main a, main form")) == 0 {
			t.Errorf("%.60s: got an error page without heading or link: %q", path, visitor.Texts("main"))
		}
	}
	// The footer names each tier and the time it took.
	visitor.Open("/talks")
	hops := visitor.Texts(".hops li")
	if len(hops) != 3 || !strings.HasPrefix(hops[0], "web-tier") || !strings.HasPrefix(hops[1], "logic-tier") || !strings.HasPrefix(hops[2], "data-tier") {
		t.Errorf("footer: got hops %q", hops)
	}
	for _, hop := range hops {
		if !strings.Contains(hop, " ms") {
			t.Errorf("footer: got a hop without duration: %q", hop)
		}
	}
}

// WithoutScripts browses, publishes and reads notifications without JavaScript.
func WithoutScripts(t *testing.T, chromium context.Context, site string) {
	browse(t, Browser(t, chromium, site).WithoutScripts())
	ada, grace := Browser(t, chromium, site).WithoutScripts(), Browser(t, chromium, site).WithoutScripts()
	ada.SignUp("ada")
	grace.SignUp("grace")
	channel := ada.CreateChannel("Plain pages")
	grace.Follow(channel)
	talk := ada.Publish(channel, "No scripts at all")
	// Without scripts, the page must be reloaded until the notification arrives.
	for grace.Open("/inbox"); len(grace.Texts(".notifications .unread h3")) == 0; grace.Open("/inbox") {
		if t.Context().Err() != nil {
			t.Fatal("the notification does not arrive")
		}
	}
	grace.WaitForTexts(unread, "1")
	grace.Screenshot("inbox-without-scripts")
	grace.Press("#inbox-all button")
	grace.WaitForTexts(unread)
	ada.Open(talk)
	ada.Press("main .danger")
	if status := grace.Open(talk); status != http.StatusGone {
		t.Errorf("withdrawn talk: got status %d, want 410", status)
	}
	grace.Press("form[action='/sign-out'] button")
	if got := grace.Open("/inbox"); got != http.StatusOK || !strings.HasPrefix(grace.Location(), "/sign-in") {
		t.Errorf("inbox after signing out: got status %d at %s, want 200 at /sign-in", got, grace.Location())
	}
}

// Mistakes submits invalid forms and wrong passwords.
func Mistakes(t *testing.T, chromium context.Context, site string) {
	ada := Browser(t, chromium, site)
	// Disables the browser's own validation, to test the server's.
	novalidate := `for (const e of document.querySelectorAll("form")) e.noValidate = true; for (const e of document.querySelectorAll("[maxlength]")) e.removeAttribute("maxlength")`
	ada.Open("/sign-up")
	ada.Do(novalidate)
	ada.Fill("handle", "Not A Handle!")
	ada.Fill("name", "Ada")
	ada.Fill("password", "short")
	if status := ada.Press("form[action='/sign-up'] button"); status != http.StatusUnprocessableEntity {
		t.Errorf("invalid sign-up: got status %d, want 422", status)
	}
	if len(ada.Texts("#handle-error")) != 1 || len(ada.Texts("#password-error")) != 1 || len(ada.Texts("#name-error")) != 0 {
		t.Errorf("got field errors %q", ada.Texts(".wrong"))
	}
	if got := ada.Value("handle") + ada.Value("name"); got != "Not A Handle!Ada" {
		t.Errorf("got values %q after an invalid submission", got)
	}
	ada.Screenshot("sign-up-wrong")
	handle, _ := ada.SignUp("ada")
	channel := ada.CreateChannel("Mistakes")

	ada.Open(channel)
	ada.Do(novalidate)
	ada.Fill("title", " ")
	ada.Fill("speakers", "Ada")
	ada.Fill("description", "Kept.")
	ada.Fill("media_url", "javascript:alert(1)")
	if status := ada.Press("details.publish form button[type=submit]"); status != http.StatusUnprocessableEntity {
		t.Errorf("invalid talk: got status %d, want 422", status)
	}
	if len(ada.Texts("#title-error")) != 1 || len(ada.Texts("#media_url-error")) != 1 {
		t.Errorf("got field errors %q", ada.Texts(".wrong"))
	}
	if got := ada.Value("speakers") + ada.Value("description") + ada.Value("media_url"); got != "AdaKept.javascript:alert(1)" {
		t.Errorf("got values %q after an invalid submission", got)
	}
	ada.Screenshot("publish-wrong")
	// Corrected, the form is accepted.
	ada.Fill("title", "Corrected")
	ada.Fill("media_url", "https://videos.example/1")
	ada.Press("details.publish form button[type=submit]")
	ada.WaitForTexts("main h1", "Corrected")

	visitor := Browser(t, chromium, site)
	visitor.Open("/sign-up")
	visitor.Fill("handle", handle)
	visitor.Fill("password", "long enough")
	if status := visitor.Press("form[action='/sign-up'] button"); status < 400 || status > 499 || len(visitor.Texts("#handle-error")) != 1 {
		t.Errorf("taken handle: got status %d with %q", status, visitor.Texts(".wrong"))
	}
	// Wrong passwords are rejected and soon rate limited.
	for n := 1; ; n++ {
		visitor.Open("/sign-in")
		visitor.Fill("handle", handle)
		visitor.Fill("password", "not it, not ever")
		status := visitor.Press("form[action='/sign-in'] button")
		if len(visitor.Texts("main .wrong")) == 0 {
			t.Fatalf("wrong password: got status %d without an error: %q", status, visitor.Texts("main"))
		}
		if status == http.StatusTooManyRequests {
			break
		}
		if n == 50 {
			t.Fatalf("no limit after %d wrong passwords", n)
		}
	}
}
