package pagetest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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

// waitTimeout limits every wait for a condition on a page.
const waitTimeout = 3 * time.Minute

// Tab is a tab in Chromium with the session of its Browser.
type Tab struct {
	t    *testing.T
	ctx  context.Context
	site string

	mu       sync.Mutex
	problems []string
}

// Tab opens a Chromium tab, which closes when the test ends. JavaScript exceptions and errors
// in the browser's log fail the test.
func (b *Browser) Tab() *Tab {
	b.t.Helper()
	allocated, cancelAllocator := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // the sandbox refuses to run as root
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WindowSize(1200, 900),
	)...)
	b.t.Cleanup(cancelAllocator)
	tab := &Tab{t: b.t, site: b.address}
	ctx, closeTab := chromedp.NewContext(allocated, chromedp.WithListener(tab.listen))
	b.t.Cleanup(func() {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		for _, problem := range tab.problems {
			b.t.Errorf("browser reported %s", problem)
		}
		closeTab()
	})
	tab.ctx = ctx
	if err := chromedp.Do(ctx); err != nil {
		b.t.Fatalf("start Chromium: %v", err)
	}
	command(tab, cdplog.Enable, cdp.Empty{})
	if b.session != "" {
		command(tab, network.SetCookie, network.SetCookieParams{Name: b.SessionCookie("").Name, Value: b.session, URL: b.address})
	}
	return tab
}

func (tab *Tab) listen(event any) {
	problem := ""
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		problem = "exception: " + e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			problem += " " + e.ExceptionDetails.Exception.Description
		}
	case *cdplog.EventEntryAdded:
		// Network errors are not bugs of the page: tests break connections on purpose.
		if e.Entry.Level == cdplog.EntryLevelError && e.Entry.Source != cdplog.EntrySourceNetwork {
			problem = fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if problem != "" {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		tab.problems = append(tab.problems, problem)
	}
}

func command[P, R any](tab *Tab, c cdp.Command[P, R], parameters P) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, waitTimeout)
	defer cancel()
	if _, err := chromedp.Call(ctx, c, parameters); err != nil {
		tab.t.Fatalf("%s: %v", c.Method, err)
	}
}

// Do runs steps in the page.
func (tab *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, waitTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tab.t.Fatalf("%v\nPage text:\n%s", err, tab.text())
	}
}

// Open opens a page of the site.
func (tab *Tab) Open(path string) {
	tab.t.Helper()
	tab.Do(chromedp.Navigate(tab.site + path))
}

// NavigateAway leaves the site.
func (tab *Tab) NavigateAway() {
	tab.t.Helper()
	tab.Do(chromedp.Navigate("about:blank"))
}

// Fill types into a field.
func (tab *Tab) Fill(selector, text string) {
	tab.t.Helper()
	tab.Do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Click clicks an element.
func (tab *Tab) Click(selector string) {
	tab.t.Helper()
	tab.Do(chromedp.Click(chromedp.CSS(selector)))
}

// Choose selects a file in a file input.
func (tab *Tab) Choose(selector, file string) {
	tab.t.Helper()
	tab.Do(chromedp.SetUploadFiles(chromedp.CSS(selector), []string{file}))
}

// Run runs a statement in the page.
func (tab *Tab) Run(statement string) {
	tab.t.Helper()
	tab.Do(chromedp.Evaluate[chromedp.Void](statement))
}

// Until waits until a JavaScript expression is true in the page.
func (tab *Tab) Until(expression string) {
	tab.t.Helper()
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(tab.ctx, waitTimeout)
		// Errors are ignored: a navigation during the evaluation is not a failure.
		holds, _ := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		cancel()
		if holds {
			return
		}
		if time.Now().After(deadline) {
			tab.t.Fatalf("after %s, not true: %s\nPage text:\n%s", waitTimeout, expression, tab.text())
		}
	}
}

func (tab *Tab) text() string {
	ctx, cancel := context.WithTimeout(tab.ctx, 5*time.Second)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	return text
}

// WithoutScripts disables JavaScript.
func (tab *Tab) WithoutScripts() *Tab {
	tab.t.Helper()
	command(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	return tab
}

// Screenshot saves screenshots of the page in light, dark and narrow form to the folder named by
// the environment variable PAGE_SHOTS. If it is unset, Screenshot does nothing.
func (tab *Tab) Screenshot(name string) {
	tab.t.Helper()
	folder := os.Getenv("PAGE_SHOTS")
	if folder == "" {
		return
	}
	for _, variant := range []struct {
		name   string
		width  int64
		scheme string
	}{{"light", 1200, "light"}, {"dark", 1200, "dark"}, {"narrow", 390, "light"}} {
		tab.Do(chromedp.EmulateViewport(variant.width, 900))
		command(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: variant.scheme}},
		})
		ctx, cancel := context.WithTimeout(tab.ctx, waitTimeout)
		image, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		cancel()
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name+"-"+variant.name+".png"), image, 0o644)
		}
		if err != nil {
			tab.t.Fatal(err)
		}
	}
}
