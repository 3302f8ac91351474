package journey

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Handles and slugs differ in each run, so that journeys can repeat on the same site.
var (
	runID     = time.Now().UnixNano() / int64(time.Millisecond) % 1e9
	nameCount atomic.Int64
)

// UniqueName returns a name with a suffix that no other name has.
func UniqueName(name string) string { return fmt.Sprintf("%s-%d-%d", name, runID, nameCount.Add(1)) }

// SignUp creates an account, signs in to it, and returns its handle and password.
func (b *Tab) SignUp(name string) (handle, password string) {
	b.t.Helper()
	handle = UniqueName(name)
	password = "password of " + handle
	b.Open("/sign-up")
	b.Fill("handle", handle)
	b.Fill("name", strings.ToUpper(name[:1])+name[1:])
	b.Fill("password", password)
	b.Press("form[action='/sign-up'] button")
	b.WaitForTexts("main .wrong")
	b.WaitForTexts(".me", strings.ToUpper(name[:1])+name[1:])
	return handle, password
}

// SignIn signs in to an account.
func (b *Tab) SignIn(handle, password string) {
	b.t.Helper()
	b.Open("/sign-in")
	b.Fill("handle", handle)
	b.Fill("password", password)
	b.Press("form[action='/sign-in'] button")
	if got := b.Texts(".me"); len(got) != 1 {
		b.t.Fatalf("signed in as %s: got account names %q on the page, want one", handle, got)
	}
}

// CreateChannel creates a channel and returns its path.
func (b *Tab) CreateChannel(title string) string {
	b.t.Helper()
	slug := UniqueName("channel")
	b.Open("/studio")
	b.Fill("title", title)
	b.Fill("slug", slug)
	b.Press("form[action='/channels'] button")
	if got := b.Location(); got != "/channels/"+slug {
		b.t.Fatalf("creating a channel: got page %s, want /channels/%s", got, slug)
	}
	return "/channels/" + slug
}

// Follow follows a channel.
func (b *Tab) Follow(channel string) {
	b.t.Helper()
	b.Open(channel)
	b.Press("form[action$='/follow'] button")
	b.WaitForTexts("form[action$='/unfollow'] button", "Following ✓. Unfollow")
}

// Publish publishes a talk and returns its path.
func (b *Tab) Publish(channel, title string) string {
	b.t.Helper()
	b.Open(channel)
	if !b.EvalBool(`document.querySelector("details.publish").open`) {
		b.Click("details.publish summary")
	}
	b.Fill("title", title)
	b.Press("details.publish form button[type=submit]")
	path := b.Location()
	if !strings.HasPrefix(path, channel+"/talks/") {
		b.fail("publish "+title, fmt.Errorf("got page %s, want a talk of %s", path, channel))
	}
	return path
}
