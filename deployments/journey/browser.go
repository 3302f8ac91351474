// Package journey drives the site in real browsers, from nothing but its address. The
// same journeys run against local processes, containers and hosts.
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

// pageTimeout bounds each wait for a condition on a page.
const pageTimeout = 3 * time.Minute

// Chromium starts a browser process. The browsers that Browser opens in it share no state.
func Chromium(t testing.TB) context.Context {
	t.Helper()
	allocator, stop := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // Chromium does not start as root with its sandbox
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WindowSize(1200, 900),
	)...)
	t.Cleanup(stop)
	browser, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(browser); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return browser
}

// Tab is a tab of a browser. Errors that the browser reports fail the test.
type Tab struct {
	t    testing.TB
	ctx  context.Context
	site string

	mu       sync.Mutex
	problems []string
}

// Browser opens a browser on the site, with its own cookies, and returns its first tab.
func Browser(t testing.TB, chromium context.Context, site string) *Tab {
	t.Helper()
	return open(t, chromium, site, chromedp.WithNewBrowserContext())
}

// NewTab opens another tab of the same browser.
func (b *Tab) NewTab() *Tab {
	b.t.Helper()
	return open(b.t, b.ctx, b.site)
}

func open(t testing.TB, parent context.Context, site string, options ...chromedp.ContextOption) *Tab {
	t.Helper()
	b := &Tab{t: t, site: site}
	ctx, cancel := chromedp.NewContext(parent, append(options, chromedp.WithListener(func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			b.addProblem("exception: " + e.ExceptionDetails.Text)
		case *cdplog.EventEntryAdded:
			// Failed requests are expected: tests restart tiers and open missing pages.
			if e.Entry.Level == cdplog.EntryLevelError && e.Entry.Source != cdplog.EntrySourceNetwork {
				b.addProblem(fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL))
			}
		}
	}))...)
	b.ctx = ctx
	t.Cleanup(func() {
		for _, problem := range b.listProblems() {
			t.Errorf("the browser reports %s", problem)
		}
		cancel()
	})
	// The tab lives as long as the context of its first action.
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	command(b, "enable the browser's log", cdplog.Enable, cdp.Empty{})
	return b
}

func (b *Tab) addProblem(problem string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, problem)
}

func (b *Tab) listProblems() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problems
}

func (b *Tab) runActions(description string, actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, pageTimeout)
	defer done()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.fail(description, err)
	}
}

// command sends a command of the DevTools protocol.
func command[P, R any](b *Tab, description string, c cdp.Command[P, R], parameters P) R {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, pageTimeout)
	defer done()
	result, err := chromedp.Call(ctx, c, parameters)
	if err != nil {
		b.fail(description, err)
	}
	return result
}

// read evaluates an expression without side effects. If the page navigates meanwhile, as
// some do by themselves, read evaluates it in the next page.
func read[T any](b *Tab, description, expression string) T {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, pageTimeout)
	defer done()
	for {
		value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
		if err == nil {
			return value
		}
		if !strings.Contains(err.Error(), "Inspected target navigated") {
			b.fail(description, err)
		}
	}
}

// fail ends the test and reports the page's address and text.
func (b *Tab) fail(description string, err error) {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, 5*time.Second)
	defer done()
	address, _ := chromedp.Run(ctx, chromedp.Location())
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	b.t.Fatalf("%s: %v\nThe page at %s reads:\n%s", description, err, address, text)
}

// WithoutScripts disables JavaScript in the tab.
func (b *Tab) WithoutScripts() *Tab {
	b.t.Helper()
	command(b, "disable JavaScript", emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	return b
}

// Open opens a page of the site and returns its HTTP status.
func (b *Tab) Open(path string) int {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, pageTimeout)
	defer done()
	response, err := chromedp.RunResponse(ctx, chromedp.Navigate(b.site+path))
	if err != nil {
		b.fail("open "+path, err)
	}
	return b.status(response)
}

// status returns the HTTP status of the page after a navigation. DevTools reports no
// response for a page that comes from the back/forward cache or that another navigation
// has replaced; status then reads it from the page.
func (b *Tab) status(response *network.Response) int {
	b.t.Helper()
	if response != nil {
		return int(response.Status)
	}
	return read[int](b, "read the page's status", `performance.getEntriesByType('navigation')[0]?.responseStatus ?? 0`)
}

// Leave navigates to a blank page, which closes the site's streams.
func (b *Tab) Leave() {
	b.t.Helper()
	b.runActions("leave the site", chromedp.Navigate("about:blank"))
}

// Fill replaces the value of a form field by typing.
func (b *Tab) Fill(name, value string) {
	b.t.Helper()
	field := fmt.Sprintf(`[name=%q]:not([type=hidden])`, name)
	b.Do(fmt.Sprintf("document.querySelector(%q).value = ''", field))
	b.runActions("fill "+name, chromedp.SendKeys(chromedp.CSS(field), value))
}

// Press clicks a button or a link, waits for the next page and returns its HTTP status.
func (b *Tab) Press(selector string) int {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, pageTimeout)
	defer done()
	response, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	if err != nil {
		b.fail("press "+selector, err)
	}
	return b.status(response)
}

// Click clicks an element that does not navigate.
func (b *Tab) Click(selector string) {
	b.t.Helper()
	b.runActions("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Texts returns the text of each element that matches a selector, with spaces collapsed.
func (b *Tab) Texts(selector string) []string {
	b.t.Helper()
	return read[[]string](b, "read "+selector, fmt.Sprintf(`Array.from(document.querySelectorAll(%q), (e) => e.textContent.trim().replace(/\\s+/g, ' '))`, selector))
}

// Value returns the value of a form field.
func (b *Tab) Value(name string) string {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, pageTimeout)
	defer done()
	value, err := chromedp.Run(ctx, chromedp.Value(chromedp.CSS(fmt.Sprintf(`[name=%q]:not([type=hidden])`, name))))
	if err != nil {
		b.fail("read "+name, err)
	}
	return value
}

// EvalBool evaluates a condition in the page.
func (b *Tab) EvalBool(condition string) bool {
	b.t.Helper()
	return read[bool](b, "evaluate "+condition, "Boolean("+condition+")")
}

// Do runs a statement in the page.
func (b *Tab) Do(statement string) {
	b.t.Helper()
	b.runActions(statement, chromedp.Evaluate[chromedp.Void](statement))
}

// Location returns the path of the tab's page.
func (b *Tab) Location() string {
	b.t.Helper()
	return strings.TrimPrefix(read[string](b, "read the address", "location.href"), b.site)
}

// WaitForTexts waits until the texts of the elements that match a selector are exactly
// want, in this order.
func (b *Tab) WaitForTexts(selector string, want ...string) {
	b.t.Helper()
	var got []string
	for deadline := time.Now().Add(pageTimeout); ; time.Sleep(20 * time.Millisecond) {
		got = b.Texts(selector)
		if strings.Join(got, "\n") == strings.Join(want, "\n") {
			return
		}
		if time.Now().After(deadline) {
			b.fail("wait for "+selector, fmt.Errorf("got %q after %s, want %q", got, pageTimeout, want))
		}
	}
}

// poll waits for a condition that is not a property of the page.
func (b *Tab) poll(description string, condition func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(pageTimeout); !condition(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.fail("wait for "+description, fmt.Errorf("not within %s", pageTimeout))
		}
	}
}

// Screenshot saves a picture of the page in the folder named by JOURNEY_SHOTS; without
// that variable it does nothing.
func (b *Tab) Screenshot(name string) {
	b.t.Helper()
	folder := os.Getenv("JOURNEY_SHOTS")
	if folder == "" {
		return
	}
	ctx, done := context.WithTimeout(b.ctx, pageTimeout)
	defer done()
	image, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.fail("take a screenshot", err)
	}
	if err := os.WriteFile(filepath.Join(folder, name+".png"), image, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// SetAppearance sets the width of the window, in pixels, and the preferred colour scheme.
func (b *Tab) SetAppearance(width int64, dark bool) *Tab {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	b.runActions("set the width", chromedp.EmulateViewport(width, 900))
	command(b, "set the colour scheme", emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	return b
}

// ChooseFile chooses a file in a file field.
func (b *Tab) ChooseFile(selector, file string) {
	b.t.Helper()
	b.runActions("choose "+file, chromedp.SetUploadFiles(chromedp.CSS(selector), []string{file}))
}

// SetNetwork emulates a network for the tab: offline, or with an upload limit in bytes
// per second; 0 is unlimited.
func (b *Tab) SetNetwork(offline bool, upload float64) {
	b.t.Helper()
	if upload == 0 {
		upload = -1
	}
	command(b, "enable network events", network.Enable, network.EnableParams{})
	command(b, "emulate the network", network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
		MatchedNetworkConditions: []*network.Conditions{{Offline: offline, DownloadThroughput: -1, UploadThroughput: upload}},
	})
}

// WaitUntil waits until an expression is true in the page, which may reload meanwhile.
func (b *Tab) WaitUntil(expression string) {
	b.t.Helper()
	ctx, done := context.WithTimeout(b.ctx, operationTimeout)
	defer done()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool](expression))
		if err == nil && ok {
			return
		}
		if ctx.Err() != nil {
			b.fail("wait for "+expression, fmt.Errorf("not within %s: %w", operationTimeout, err))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
