package journey

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Handles and addresses are new on every run, so that a site can be walked
// through more than once.
var (
	run    = time.Now().UnixNano() / int64(time.Millisecond) % 1e9
	people atomic.Int64
)

// New returns a name that nobody and nothing has yet.
func New(name string) string { return fmt.Sprintf("%s-%d-%d", name, run, people.Add(1)) }

// SignUp makes an account, and returns its handle and password.
func (b *Tab) SignUp(name string) (handle, password string) {
	b.t.Helper()
	handle = New(name)
	password = "password of " + handle
	b.Open("/sign-up")
	b.Fill("handle", handle)
	b.Fill("name", strings.ToUpper(name[:1])+name[1:])
	b.Fill("password", password)
	b.Press("form[action='/sign-up'] button")
	b.Until("main .wrong")
	b.Until(".me", strings.ToUpper(name[:1])+name[1:])
	return handle, password
}

// SignIn signs in.
func (b *Tab) SignIn(handle, password string) {
	b.t.Helper()
	b.Open("/sign-in")
	b.Fill("handle", handle)
	b.Fill("password", password)
	b.Press("form[action='/sign-in'] button")
	if got := b.Texts(".me"); len(got) != 1 {
		b.t.Fatalf("signed in as %s, the page names %q", handle, got)
	}
}

// MakeChannel makes a channel and returns its path.
func (b *Tab) MakeChannel(title string) string {
	b.t.Helper()
	slug := New("channel")
	b.Open("/studio")
	b.Fill("title", title)
	b.Fill("slug", slug)
	b.Press("form[action='/channels'] button")
	if got := b.Location(); got != "/channels/"+slug {
		b.t.Fatalf("making a channel leads to %s", got)
	}
	return "/channels/" + slug
}

// Follow follows a channel.
func (b *Tab) Follow(channel string) {
	b.t.Helper()
	b.Open(channel)
	b.Press("form[action$='/follow'] button")
	b.Until("form[action$='/unfollow'] button", "Following ✓. Unfollow")
}

// Publish publishes a talk and returns its path.
func (b *Tab) Publish(channel, title string) string {
	b.t.Helper()
	b.Open(channel)
	if !b.Is(`document.querySelector("details.publish").open`) {
		b.Tap("details.publish summary")
	}
	b.Fill("title", title)
	b.Press("details.publish form button[type=submit]")
	path := b.Location()
	if !strings.HasPrefix(path, channel+"/talks/") {
		b.fail("publish "+title, fmt.Errorf("it leads to %s", path))
	}
	return path
}
