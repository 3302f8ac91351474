// Package journey walks through the site as people do: in real browsers, with
// nothing but its address. What runs the site is not its business, so the same
// walk is taken over three processes and over three containers.
package journey

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// patience bounds every wait for a condition on a page.
const patience = 3 * time.Minute

// Chromium starts a browser program; its browsers share nothing but the program.
func Chromium(t testing.TB) context.Context {
	t.Helper()
	allocated, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // it does not start as root otherwise
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WindowSize(1200, 900),
	)...)
	t.Cleanup(end)
	program, close := chromedp.NewContext(allocated)
	t.Cleanup(close)
	if err := chromedp.Do(program); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	return program
}

// Tab is a tab of somebody's browser.
type Tab struct {
	t    testing.TB
	ctx  context.Context
	site string

	mu       sync.Mutex
	problems []string
}

// Browser opens somebody's browser, with cookies of its own, on a site.
func Browser(t testing.TB, chromium context.Context, site string) *Tab {
	t.Helper()
	return open(t, chromium, site, chromedp.WithNewBrowserContext())
}

// Another opens another tab of the same browser.
func (b *Tab) Another() *Tab {
	b.t.Helper()
	return open(b.t, b.ctx, b.site)
}

func open(t testing.TB, parent context.Context, site string, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	b := &Tab{t: t, site: site}
	// What a browser complains of is a bug of the page.
	ctx, close := chromedp.NewContext(parent, append(options, chromedp.WithListener(func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.complain("exception: " + e.ExceptionDetails.Text)
		case *cdplog.EventEntryAdded:
			// A tier that is restarted, or a page that is not there, is no bug.
			if e.Entry.Level == cdplog.EntryLevelError && e.Entry.Source != cdplog.EntrySourceNetwork {
				b.complain(fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL))
			}
		}
	}))...)
	b.ctx = ctx
	t.Cleanup(func() {
		for _, problem := range b.complaints() {
			t.Errorf("the browser complains of %s", problem)
		}
		close()
	})
	// The tab lives as long as the context of its first action.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("no tab opens: %v", err)
	}
	command(b, "listen to complaints", cdplog.Enable, cdp.Empty{})
	return b
}

func (b *Tab) complain(of string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, of)
}

func (b *Tab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problems
}

func (b *Tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, patience)
	defer done()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail(what, err)
	}
}

// command sends a command of the DevTools protocol.
func command[P, R any](b *Tab, what string, c cdp.Command[P, R], parameters P) R {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, patience)
	defer done()
	answer, err := chromedp.Call(ctx, c, parameters)
	if err != nil {
		b.fail(what, err)
	}
	return answer
}

// read evaluates an expression that changes nothing in the page; in the next one, when
// the page goes on to it meanwhile, as some do by themselves.
func read[T any](b *Tab, what, expression string) T {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, patience)
	defer done()
	for {
		value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
		if err == nil {
			return value
		}
		if !strings.Contains(err.Error(), "Inspected target navigated") {
			b.fail(what, err)
		}
	}
}

// fail ends the test with what the page shows.
func (b *Tab) fail(what string, err error) {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, 5*time.Second)
	defer done()
	address, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	b.t.Fatalf("%s: %v\nThe page at %s reads:\n%s", what, err, address, text)
}

// WithoutScripts switches JavaScript off, as some people and some failures do.
func (b *Tab) WithoutScripts() *Tab {
	b.t.Helper()
	command(b, "switch scripts off", emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	return b
}

// Open opens a page of the site and returns its HTTP status.
func (b *Tab) Open(path string) int {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, patience)
	defer done()
	response, err := chromedp.RunResponse(ctx, chromedp.Navigate(b.site+path))
	if err != nil {
		b.fail("open "+path, err)
	}
	return b.status(response)
}

// status returns the HTTP status of the page that was navigated to. DevTools reports no
// response for a page that comes from the back/forward cache, or that another navigation
// replaced meanwhile; then the page itself tells.
func (b *Tab) status(response *network.Response) int {
	b.t.Helper()
	if response != nil {
		return int(response.Status)
	}
	return read[int](b, "read the page's status", `performance.getEntriesByType('navigation')[0]?.responseStatus ?? 0`)
}

// Away leaves the site, as a closed laptop does.
func (b *Tab) Away() {
	b.t.Helper()
	b.do("leave", chromedp.Navigate("about:blank"))
}

// Fill types into a form's field.
func (b *Tab) Fill(name, value string) {
	b.t.Helper()
	field := fmt.Sprintf(`[name=%q]:not([type=hidden])`, name)
	b.Do(fmt.Sprintf("document.querySelector(%q).value = ''", field))
	b.do("fill "+name, chromedp.SendKeys(chromedp.CSS(field), value))
}

// Press presses a button or follows a link, and waits for the page it leads to.
func (b *Tab) Press(selector string) int {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, patience)
	defer done()
	response, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	if err != nil {
		b.fail("press "+selector, err)
	}
	return b.status(response)
}

// Tap presses something that leads to no other page.
func (b *Tab) Tap(selector string) {
	b.t.Helper()
	b.do("tap "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Texts returns the text of everything that a selector finds, on a line each.
func (b *Tab) Texts(selector string) []string {
	b.t.Helper()
	return read[[]string](b, "read "+selector, fmt.Sprintf(`Array.from(document.querySelectorAll(%q), (e) => e.textContent.trim().replace(/\\s+/g, ' '))`, selector))
}

// Value returns what a form's field holds.
func (b *Tab) Value(name string) string {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, patience)
	defer done()
	value, err := chromedp.Run(ctx, chromedp.Value(chromedp.CSS(fmt.Sprintf(`[name=%q]:not([type=hidden])`, name))))
	if err != nil {
		b.fail("read "+name, err)
	}
	return value
}

// Is evaluates a condition in the page.
func (b *Tab) Is(condition string) bool {
	b.t.Helper()
	return read[bool](b, "look whether "+condition, "Boolean("+condition+")")
}

// Do runs a statement in the page.
func (b *Tab) Do(statement string) {
	b.t.Helper()
	b.do(statement, chromedp.Evaluate[chromedp.Void](statement))
}

// Location returns the path that the tab is at.
func (b *Tab) Location() string {
	b.t.Helper()
	return strings.TrimPrefix(read[string](b, "read the address", "location.href"), b.site)
}

// Until waits until a selector finds exactly these texts, in this order.
func (b *Tab) Until(selector string, want ...string) {
	b.t.Helper()
	var got []string
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		got = b.Texts(selector)
		if strings.Join(got, "\n") == strings.Join(want, "\n") {
			return
		}
		if time.Now().After(deadline) {
			b.fail("wait for "+selector, fmt.Errorf("in %s it does not become %q; it is %q", patience, want, got))
		}
	}
}

// until waits for a condition that the page itself does not tell.
func (b *Tab) until(what string, is func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !is(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.fail("wait", fmt.Errorf("in %s it does not come: %s", patience, what))
		}
	}
}

// Shot keeps a picture of the page in a folder, when one was named by
// JOURNEY_SHOTS: to look at what the walk sees.
func (b *Tab) Shot(name string) {
	b.t.Helper()
	folder := os.Getenv("JOURNEY_SHOTS")
	if folder == "" {
		return
	}
	ctx, done := context.WithTimeout(b.ctx, patience)
	defer done()
	picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.fail("take a picture", err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), picture, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// Appearance sets how wide the window is, in pixels, and the colours preferred.
func (b *Tab) Appearance(width int64, dark bool) *Tab {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.do("change the width", chromedp.EmulateViewport(width, 900))
	command(b, "change the colours", emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	return b
}

// Choose chooses a file in a form, as dropping it there does.
func (b *Tab) Choose(selector, file string) {
	b.t.Helper()
	b.do("choose "+file, chromedp.SetUploadFiles(chromedp.CSS(selector), []string{file}))
}

// Network changes the network of the tab: whether there is any, and how many bytes
// a second go up; 0 is as many as can.
func (b *Tab) Network(offline bool, upload float64) {
	b.t.Helper()
	if upload == 0 {
		upload = -1
	}
	command(b, "watch the network", network.Enable, network.EnableParams{})
	command(b, "change the network", network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: offline, DownloadThroughput: -1, UploadThroughput: upload}},
	})
}

// Holds waits until an expression is true in the page, which may load itself anew
// meanwhile.
func (b *Tab) Holds(expression string) {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, workPatience)
	defer done()
	for {
		is, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err == nil && is {
			return
		}
		if ctx.Err() != nil {
			b.fail("wait", fmt.Errorf("in %s it does not hold: %s: %w", workPatience, expression, err))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
