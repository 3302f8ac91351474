// Package markdown renders what people typed as HTML that is safe to show on
// the site's own pages.
package markdown

import (
	"bytes"
	"html"
	"regexp"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// maxInput bounds what is parsed: three times the longest description, since a
// character has up to four bytes. What is longer is shown as it was typed.
const maxInput = 80 << 10

// Headings of a text stand below those of the page it is on, h1 and h2.
const lowered = 2

var engine = goldmark.New(
	goldmark.WithExtensions(
		extension.Linkify, extension.Strikethrough,
		// Alignment would be an inline style, which the pages' policy forbids.
		extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignNone)),
	),
	goldmark.WithParserOptions(parser.WithASTTransformers(util.Prioritized(lower{}, 100))),
)

type lower struct{}

func (lower) Transform(document *ast.Document, _ text.Reader, _ parser.Context) {
	_ = ast.Walk(document, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if heading, ok := n.(*ast.Heading); ok && entering {
			heading.Level = min(6, heading.Level+lowered)
		}
		return ast.WalkContinue, nil
	})
}

// policy allows text, lists, tables, code and links to elsewhere. No images:
// each would tell another host who reads the page.
var policy = func() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("p", "br", "hr", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code",
		"em", "strong", "del", "table", "thead", "tbody", "tr", "th", "td")
	p.AllowAttrs("start").Matching(regexp.MustCompile(`^[0-9]{1,9}$`)).OnElements("ol")
	p.AllowAttrs("href").OnElements("a")
	p.AllowURLSchemes("http", "https", "mailto")
	p.RequireParseableURLs(true)
	p.AllowRelativeURLs(false)
	p.RequireNoFollowOnLinks(true)
	// noreferrer is noopener as well (HTML, section 4.6.6.12).
	p.RequireNoReferrerOnLinks(true)
	return p
}()

// HTML renders source, which may be anything. The HTML in it is left out.
func HTML(source string) string {
	if len(source) > maxInput {
		return "<pre>" + html.EscapeString(source) + "</pre>"
	}
	var rendered bytes.Buffer
	if err := engine.Convert([]byte(source), &rendered); err != nil {
		return "<pre>" + html.EscapeString(source) + "</pre>"
	}
	return policy.SanitizeReader(&rendered).String()
}
