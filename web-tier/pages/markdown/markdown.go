// Package markdown renders the descriptions of talks and channels.
//
// Descriptions come from anybody, and a small Markdown text can describe a huge
// document: a table pads every row to the width of its header, and every use of
// a link reference repeats the whole address. Work and output are therefore
// bounded by the size of the text (limits.go); a text beyond the bounds is shown
// as it was typed. Rendered texts are cached.
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
	goldmark.WithParser(boundedParser()),
	goldmark.WithExtensions(extension.Linkify, extension.Table, extension.Strikethrough),
)

var policy = newPolicy()

// newPolicy keeps what text needs. Whatever Markdown or HTML somebody wrote,
// nothing that runs, loads or imitates the page gets through: no scripts,
// styles, forms, images or frames, and only links that lead where they say.
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

// A description's headings come below the page's own.
var headings = regexp.MustCompile(`(</?h)([12])(>)`)

// rendered caches the pages' descriptions. They depend on the text alone, so all
// sites of a process can share them.
var rendered = newCache(maxCached)

// document is a text in HTML that is safe to show.
type document struct {
	html string
	// plain reports that the text exceeds the limits, and is shown as it was typed.
	plain bool
}

// Render returns Markdown as HTML that is safe to show. Text that exceeds the
// limits is returned as it was typed.
func Render(text string) string { return rendered.get(text, render).html }

// Accepts reports whether text is within the limits, so that Render shows it as
// Markdown.
func Accepts(text string) bool { return !rendered.get(text, render).plain }

func render(text string) document {
	dirty, ok := convert(text)
	if !ok {
		return plain(text)
	}
	clean := policy.SanitizeBytes(headings.ReplaceAll(dirty, []byte("${1}3${3}")))
	if len(clean) > maxOutput(text) { // the sanitizer adds attributes to links
		return plain(text)
	}
	return document{html: string(clean)}
}

// convert returns Markdown as HTML that is not sanitized yet. It reports false if
// the text exceeds the limits.
func convert(text string) (dirty []byte, ok bool) {
	if len(text) > maxText {
		return nil, false
	}
	defer func() {
		if r := recover(); r != nil {
			if _, exceeded := r.(bailout); !exceeded {
				panic(r)
			}
			dirty, ok = nil, false
		}
	}()
	w := limitedWriter{limit: maxOutput(text)}
	err := renderer.Convert([]byte(text), &w, parser.WithContext(newContext(text)))
	return w.Bytes(), err == nil
}

// plain returns text as it was typed. The style of a .typed keeps its line breaks.
func plain(text string) document {
	return document{html: `<div class="typed">` + html.EscapeString(text) + "</div>", plain: true}
}

// limitedWriter stops the rendering when it has produced limit bytes.
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
