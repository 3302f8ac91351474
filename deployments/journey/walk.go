package journey

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// unread is what the bell shows; hidden, it shows nothing.
const unread = "#bell-count:not([hidden])"

// Walk is the whole journey: a talk published in one browser reaches a follower
// in another.
func Walk(t *testing.T, chromium context.Context, site string) {
	ada, grace := Browser(t, chromium, site), Browser(t, chromium, site)
	ada.SignUp("ada")
	handle, password := grace.SignUp("grace")
	channel := ada.MakeChannel("Engines & <b>Looms</b>")
	grace.Follow(channel)

	// Grace has her inbox open in one tab and another page in the next.
	inbox, elsewhere := grace, grace.Another()
	inbox.Open("/inbox")
	elsewhere.Open("/talks")
	for _, tab := range []*Tab{inbox, elsewhere} {
		tab.Until(unread)
		tab.Do("window.loaded = 1") // a reload forgets it
	}
	first := ada.Publish(channel, "On the <i>Analytical</i> Engine")
	inbox.Until("#inbox .unread h3", "On the <i>Analytical</i> Engine")
	inbox.Until(unread, "1")
	elsewhere.Until("#toasts .toast a:last-child", "On the <i>Analytical</i> Engine")
	elsewhere.Until(unread, "1")
	for _, tab := range []*Tab{inbox, elsewhere} {
		if !tab.Is("window.loaded") {
			t.Errorf("the page at %s was loaded anew", tab.Location())
		}
	}
	inbox.Shot("inbox-live")
	elsewhere.Shot("toast")

	// Away for a while: all of it is there, in order, once.
	inbox.Away()
	elsewhere.Away()
	for n := range 3 {
		ada.Publish(channel, fmt.Sprintf("Note %d", n))
	}
	// Which she learns on any page, and on the inbox.
	elsewhere.Open("/channels")
	elsewhere.Until(unread, "4")
	inbox.Open("/inbox")
	inbox.Until("#inbox h3", "Note 2", "Note 1", "Note 0", "On the <i>Analytical</i> Engine")

	// Read one, then all; a second page hears of it.
	inbox.Press("#inbox li:last-child form button")
	inbox.Until(unread, "3")
	elsewhere.Until(unread, "3")
	inbox.Press("#inbox-all button")
	inbox.Until(unread)
	inbox.Until("#inbox .unread")
	elsewhere.Until(unread)

	// The talk itself, changed, then withdrawn.
	if status := grace.Open(first); status != http.StatusOK {
		t.Fatalf("the talk's page answers %d", status)
	}
	grace.Until("main h1", "On the <i>Analytical</i> Engine")
	if len(grace.Texts("main .danger")) > 0 {
		t.Error("grace is offered to withdraw what is ada's")
	}
	ada.Open(first)
	ada.Press("main .actions a")
	ada.Fill("title", "On Engines")
	ada.Fill("description", "# Notes\n\nRead [them](https://notes.example). <script>alert(1)</script>")
	ada.Fill("media_url", "https://talks.example/engines.mp4")
	ada.Press("main form[action$='/edit'] button")
	ada.Until("main h1", "On Engines")
	ada.Until(".prose :is(h2, h3, h4)", "Notes")
	if !ada.Is(`document.querySelector("video source").src === "https://talks.example/engines.mp4" && !document.querySelector(".prose script")`) {
		t.Error("the recording is not in the page's player, or a script came through the description")
	}
	ada.Shot("talk")
	ada.Do("window.confirm = () => true")
	ada.Press("main .danger")
	if status := grace.Open(first); status != http.StatusGone {
		t.Errorf("a withdrawn talk answers %d", status)
	}
	grace.Shot("withdrawn")

	// Unfollowed, the channel is silent; what is followed still comes.
	other := ada.MakeChannel("Looms")
	grace.Open(channel)
	grace.Press("form[action$='/unfollow'] button")
	grace.Follow(other)
	ada.Publish(channel, "Unheard")
	ada.Publish(other, "Heard")
	grace.Until(unread, "1")
	grace.Open("/inbox")
	grace.Until("#inbox .unread h3", "Heard")

	// Signed out here, the stream ends and the bell is gone; signed in, it is all there.
	grace.Press("form[action='/sign-out'] button")
	if len(grace.Texts(".bell")) > 0 {
		t.Error("signed out, the bell is still there")
	}
	grace.SignIn(handle, password)
	grace.Until(unread, "1")
}

// Browse looks around without an account.
func Browse(t *testing.T, chromium context.Context, site string) {
	someone := Browser(t, chromium, site)
	browse(t, someone)
}

func browse(t *testing.T, someone *Tab) {
	t.Helper()
	someone.Open("/")
	someone.Shot("home")
	if got := someone.Texts(".talks h3"); len(got) < 10 {
		t.Fatalf("the home page shows %d talks: %q", len(got), got)
	}
	// Words of the title weigh more; case and accents do not count.
	someone.Fill("q", "SOFTWÄRE architecture design")
	someone.Press("form[role=search] button")
	if got := someone.Texts(".talks h3"); len(got) == 0 || got[0] != "Software architecture and communication design patterns" {
		t.Errorf("search finds %q", got)
	}
	someone.Shot("search")
	someone.Press(".talks h3 a")
	someone.Until("main h1", "Software architecture and communication design patterns")
	someone.Shot("talk-anonymous")
	someone.Press(".crumb a")
	if !strings.HasPrefix(someone.Location(), "/channels/") {
		t.Errorf("a talk's channel is at %s", someone.Location())
	}
	// By language, by tag.
	someone.Open("/talks?language=deu")
	german := someone.Texts(".talks h3")
	if len(german) == 0 || len(german) == len(someone.Texts("body .talks h3:not(*)")) {
		t.Errorf("talks in German: %q", german)
	}
	for _, meta := range someone.Texts(".talks .meta") {
		if !strings.Contains(meta, "German") {
			t.Errorf("among the talks in German: %q", meta)
		}
	}
	someone.Press(".talks .tag")
	if !strings.Contains(someone.Location(), "tag=") || len(someone.Texts(".talks h3")) == 0 {
		t.Errorf("a tag leads to %s", someone.Location())
	}
	// Forward and back.
	someone.Open("/talks")
	page := someone.Texts(".talks h3")
	someone.Press(".pager [rel=next]")
	next := someone.Texts(".talks h3")
	if len(next) == 0 || strings.Join(next, "\n") == strings.Join(page, "\n") {
		t.Errorf("the second page is %q", next)
	}
	someone.Press(".pager [rel=prev]")
	someone.Until(".talks h3", page...)
	// What is not there, and what is made up.
	for path, status := range map[string]int{
		"/nowhere":                  http.StatusNotFound,
		"/channels/nowhere":         http.StatusNotFound,
		"/channels/nowhere/talks/x": http.StatusNotFound,
		"/talks?page_token=made-up": http.StatusBadRequest,
		"/talks?q=" + url.QueryEscape(strings.Repeat("long ", 100)): http.StatusBadRequest,
	} {
		if got := someone.Open(path); got != status {
			t.Errorf("%.60s answers %d, want %d", path, got, status)
		}
		if len(someone.Texts("main h1")) != 1 || len(someone.Texts("main a, main form")) == 0 {
			t.Errorf("%.60s is no page that helps: %q", path, someone.Texts("main"))
		}
	}
	// Each page says which way it came.
	someone.Open("/talks")
	hops := someone.Texts(".hops li")
	if len(hops) != 3 || !strings.HasPrefix(hops[0], "web-tier") || !strings.HasPrefix(hops[1], "logic-tier") || !strings.HasPrefix(hops[2], "data-tier") {
		t.Errorf("the footer names %q", hops)
	}
	for _, hop := range hops {
		if !strings.Contains(hop, " ms") {
			t.Errorf("the footer does not say how long it took: %q", hop)
		}
	}
}

// WithoutScripts does everything but hearing live with JavaScript off.
func WithoutScripts(t *testing.T, chromium context.Context, site string) {
	browse(t, Browser(t, chromium, site).WithoutScripts())
	ada, grace := Browser(t, chromium, site).WithoutScripts(), Browser(t, chromium, site).WithoutScripts()
	ada.SignUp("ada")
	grace.SignUp("grace")
	channel := ada.MakeChannel("Plain pages")
	grace.Follow(channel)
	talk := ada.Publish(channel, "No scripts at all")
	// The page is loaded again, as people do, until it is there.
	for grace.Open("/inbox"); len(grace.Texts(".notifications .unread h3")) == 0; grace.Open("/inbox") {
		if t.Context().Err() != nil {
			t.Fatal("it never comes")
		}
	}
	grace.Until(unread, "1")
	grace.Shot("inbox-without-scripts")
	grace.Press("#inbox-all button")
	grace.Until(unread)
	ada.Open(talk)
	ada.Press("main .danger")
	if status := grace.Open(talk); status != http.StatusGone {
		t.Errorf("a withdrawn talk answers %d", status)
	}
	grace.Press("form[action='/sign-out'] button")
	if got := grace.Open("/inbox"); got != http.StatusOK || !strings.HasPrefix(grace.Location(), "/sign-in") {
		t.Errorf("the inbox of nobody answers %d at %s", got, grace.Location())
	}
}

// Mistakes makes the mistakes that people make in forms.
func Mistakes(t *testing.T, chromium context.Context, site string) {
	ada := Browser(t, chromium, site)
	// The browser would stop some of them; not every client does.
	fearless := `for (const e of document.querySelectorAll("form")) e.noValidate = true; for (const e of document.querySelectorAll("[maxlength]")) e.removeAttribute("maxlength")`
	ada.Open("/sign-up")
	ada.Do(fearless)
	ada.Fill("handle", "Not A Handle!")
	ada.Fill("name", "Ada")
	ada.Fill("password", "short")
	if status := ada.Press("form[action='/sign-up'] button"); status != http.StatusUnprocessableEntity {
		t.Errorf("a sign-up that cannot be answers %d", status)
	}
	if len(ada.Texts("#handle-wrong")) != 1 || len(ada.Texts("#password-wrong")) != 1 || len(ada.Texts("#name-wrong")) != 0 {
		t.Errorf("wrong are %q", ada.Texts(".wrong"))
	}
	if got := ada.Value("handle") + ada.Value("name"); got != "Not A Handle!Ada" {
		t.Errorf("of what was typed, %q is left", got)
	}
	ada.Shot("sign-up-wrong")
	handle, _ := ada.SignUp("ada")
	channel := ada.MakeChannel("Mistakes")

	ada.Open(channel)
	ada.Do(fearless)
	ada.Fill("title", " ")
	ada.Fill("speakers", "Ada")
	ada.Fill("description", "Kept.")
	ada.Fill("media_url", "javascript:alert(1)")
	if status := ada.Press("details.publish form button[type=submit]"); status != http.StatusUnprocessableEntity {
		t.Errorf("a talk that cannot be answers %d", status)
	}
	if len(ada.Texts("#title-wrong")) != 1 || len(ada.Texts("#media_url-wrong")) != 1 {
		t.Errorf("wrong are %q", ada.Texts(".wrong"))
	}
	if got := ada.Value("speakers") + ada.Value("description") + ada.Value("media_url"); got != "AdaKept.javascript:alert(1)" {
		t.Errorf("of what was typed, %q is left", got)
	}
	ada.Shot("publish-wrong")
	// Mended, it goes through.
	ada.Fill("title", "Mended")
	ada.Fill("media_url", "https://videos.example/1")
	ada.Press("details.publish form button[type=submit]")
	ada.Until("main h1", "Mended")

	someone := Browser(t, chromium, site)
	someone.Open("/sign-up")
	someone.Fill("handle", handle)
	someone.Fill("password", "long enough for anybody")
	if status := someone.Press("form[action='/sign-up'] button"); status < 400 || status > 499 || len(someone.Texts("#handle-wrong")) != 1 {
		t.Errorf("a handle that is taken answers %d with %q", status, someone.Texts(".wrong"))
	}
	// Wrong passwords: the same words whoever it is, and soon no more tries.
	for n := 1; ; n++ {
		someone.Open("/sign-in")
		someone.Fill("handle", handle)
		someone.Fill("password", "not it, not ever")
		status := someone.Press("form[action='/sign-in'] button")
		if len(someone.Texts("main .wrong")) == 0 {
			t.Fatalf("a wrong password is answered with %d and %q", status, someone.Texts("main"))
		}
		if status == http.StatusTooManyRequests {
			break
		}
		if n == 50 {
			t.Fatalf("after %d wrong passwords there may still be another", n)
		}
	}
}
