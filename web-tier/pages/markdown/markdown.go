// Package markdown renders what people write about their talks.
package markdown

import (
	"bytes"
	"regexp"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
)

var renderer = goldmark.New(goldmark.WithExtensions(extension.Linkify, extension.Table, extension.Strikethrough))

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

// Render returns Markdown as HTML that is safe to show.
func Render(text string) string {
	var b bytes.Buffer
	if err := renderer.Convert([]byte(text), &b); err != nil {
		return "<p>" + bluemonday.StrictPolicy().Sanitize(text) + "</p>"
	}
	return string(policy.SanitizeBytes(headings.ReplaceAll(b.Bytes(), []byte("${1}3${3}"))))
}
