// Package markdown renders the descriptions of talks and channels.
//
// Anyone can write a description, and a small Markdown text can render to a huge document: a table
// pads every row to the width of its header, and every use of a link reference repeats the whole
// URL. Work and output are therefore limited in proportion to the size of the text (limits.go).
// Text that exceeds a limit is shown as typed. Rendered texts are cached.
package markdown

import (
	"bytes"
	"html"
	"regexp"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
)

var renderer = goldmark.New(
	goldmark.WithParser(limitedParser()),
	goldmark.WithExtensions(extension.Linkify, extension.Table, extension.Strikethrough),
)

var policy = newPolicy()

// newPolicy returns a policy that allows only text markup. It removes everything that could run
// code, load resources or imitate the page: scripts, styles, forms, images and frames. Links must
// be absolute.
func newPolicy() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "del", "sub", "sup",
		"ul", "ol", "li", "dl", "dt", "dd", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td")
	p.AllowAttrs("href").OnElements("a")
	p.AllowURLSchemes("http", "https", "mailto")
	p.RequireParseableURLs(true)
	p.AllowRelativeURLs(false)
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true)
	p.AllowAttrs("start").Matching(regexp.MustCompile(`^[0-9]{1,6}$`)).OnElements("ol")
	return p
}

// topHeadings matches h1 and h2 tags, which are reserved for the page itself.
var topHeadings = regexp.MustCompile(`(</?h)([12])(>)`)

// rendered caches documents. They depend only on the text, so all sites in a process share them.
var rendered = newCache(maxCached)

// document is a rendered text.
type document struct {
	html string // sanitized
	// plain reports whether the text exceeds the limits and is shown as typed.
	plain bool
}

// Render renders Markdown to sanitized HTML. It escapes text that exceeds the limits, and shows
// it as typed.
func Render(text string) string { return rendered.get(text, render).html }

// Accepts reports whether text is within the limits, so that Render renders it as Markdown.
func Accepts(text string) bool { return !rendered.get(text, render).plain }

func render(text string) document {
	raw, ok := convert(text)
	if !ok {
		return plain(text)
	}
	sanitized := policy.SanitizeBytes(topHeadings.ReplaceAll(raw, []byte("${1}3${3}")))
	if len(sanitized) > maxOutput(text) { // possible: the sanitizer adds attributes to links
		return plain(text)
	}
	return document{html: string(sanitized)}
}

// convert renders Markdown to HTML without sanitizing it. It reports false if the text exceeds the
// limits.
func convert(text string) (raw []byte, ok bool) {
	if len(text) > maxText {
		return nil, false
	}
	defer func() {
		if r := recover(); r != nil {
			if _, exceeded := r.(bailout); !exceeded {
				panic(r)
			}
			raw, ok = nil, false
		}
	}()
	w := limitedWriter{limit: maxOutput(text)}
	err := renderer.Convert([]byte(text), &w, parser.WithContext(newContext(text)))
	return w.Bytes(), err == nil
}

// plain returns text escaped, to be shown as typed. The CSS class typed preserves line breaks.
func plain(text string) document {
	return document{html: `<div class="typed">` + html.EscapeString(text) + "</div>", plain: true}
}

// limitedWriter aborts the rendering with a bailout panic after limit bytes.
type limitedWriter struct {
	bytes.Buffer
	limit int
}

func (w *limitedWriter) Write(p []byte) (int, error) {
	if w.Len()+len(p) > w.limit {
		panic(bailout{})
	}
	return w.Buffer.Write(p)
}
