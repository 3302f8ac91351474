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

// patience bounds every wait for a condition on a page.
const patience = 3 * time.Minute

// Tab is a tab of a real browser, signed in as its Browser is.
type Tab struct {
	t    *testing.T
	ctx  context.Context
	site string

	mu       sync.Mutex
	problems []string
}

// Tab opens a tab of Chromium, which ends with the test. What the browser
// complains of fails the test.
func (b *Browser) Tab() *Tab {
	b.t.Helper()
	allocated, end := chromedp.NewExecAllocator(context.Background(), append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // it does not start as root otherwise
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WindowSize(1200, 900),
	)...)
	b.t.Cleanup(end)
	tab := &Tab{t: b.t, site: b.address}
	ctx, leave := chromedp.NewContext(allocated, chromedp.WithListener(tab.listen))
	b.t.Cleanup(func() {
		tab.mu.Lock()
		defer tab.mu.Unlock()
		for _, problem := range tab.problems {
			b.t.Errorf("the browser complains of %s", problem)
		}
		leave()
	})
	tab.ctx = ctx
	if err := chromedp.Do(ctx); err != nil {
		b.t.Fatalf("Chromium does not start: %v", err)
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
		// A connection that breaks is no bug of the page.
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
	ctx, done := context.WithTimeout(tab.ctx, patience)
	defer done()
	if _, err := chromedp.Call(ctx, c, parameters); err != nil {
		tab.t.Fatalf("%s: %v", c.Method, err)
	}
}

// Do takes steps in the page.
func (tab *Tab) Do(steps ...chromedp.Action[chromedp.Void]) {
	tab.t.Helper()
	ctx, done := context.WithTimeout(tab.ctx, patience)
	defer done()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tab.t.Fatalf("%v\nThe page reads:\n%s", err, tab.text())
	}
}

// Open opens a page of the site.
func (tab *Tab) Open(path string) {
	tab.t.Helper()
	tab.Do(chromedp.Navigate(tab.site + path))
}

// Leave closes the page.
func (tab *Tab) Leave() {
	tab.t.Helper()
	tab.Do(chromedp.Navigate("about:blank"))
}

// Fill types into a field.
func (tab *Tab) Fill(selector, text string) {
	tab.t.Helper()
	tab.Do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Press presses a button.
func (tab *Tab) Press(selector string) {
	tab.t.Helper()
	tab.Do(chromedp.Click(chromedp.CSS(selector)))
}

// Choose chooses a file, as a person does in the dialog.
func (tab *Tab) Choose(selector, file string) {
	tab.t.Helper()
	tab.Do(chromedp.SetUploadFiles(chromedp.CSS(selector), []string{file}))
}

// Run runs a statement in the page.
func (tab *Tab) Run(statement string) {
	tab.t.Helper()
	tab.Do(chromedp.Evaluate[chromedp.Void](statement))
}

// Until waits until an expression is true in the page.
func (tab *Tab) Until(expression string) {
	tab.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		ctx, done := context.WithTimeout(tab.ctx, patience)
		// A page that is left meanwhile is no failure: the next one is asked.
		holds, _ := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		done()
		if holds {
			return
		}
		if time.Now().After(deadline) {
			tab.t.Fatalf("in %s it is not so that %s\nThe page reads:\n%s", patience, expression, tab.text())
		}
	}
}

func (tab *Tab) text() string {
	ctx, done := context.WithTimeout(tab.ctx, 5*time.Second)
	defer done()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	return text
}

// WithoutScripts switches JavaScript off.
func (tab *Tab) WithoutScripts() *Tab {
	tab.t.Helper()
	command(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	return tab
}

// Shot keeps a picture of the page, light, dark and narrow, in the folder that
// PAGE_SHOTS names; without that, none.
func (tab *Tab) Shot(name string) {
	tab.t.Helper()
	folder := os.Getenv("PAGE_SHOTS")
	if folder == "" {
		return
	}
	for _, look := range []struct {
		name   string
		width  int64
		scheme string
	}{{"light", 1200, "light"}, {"dark", 1200, "dark"}, {"narrow", 390, "light"}} {
		tab.Do(chromedp.EmulateViewport(look.width, 900))
		command(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: look.scheme}},
		})
		ctx, done := context.WithTimeout(tab.ctx, patience)
		picture, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		done()
		if err == nil {
			err = os.WriteFile(filepath.Join(folder, name+"-"+look.name+".png"), picture, 0o644)
		}
		if err != nil {
			tab.t.Fatal(err)
		}
	}
}
