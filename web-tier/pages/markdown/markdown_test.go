package markdown_test

import (
	"strings"
	"testing"

	"golang.org/x/net/html"

	"techtalks.example/web-tier/pages/markdown"
)

func TestRender(t *testing.T) {
	got := markdown.Render("# Big\n\nA *word*, `code` and https://example.org.\n\n- one\n- two\n\n|a|b|\n|-|-|\n|1|2|\n")
	for _, want := range []string{"<h3", "<em>word</em>", "<code>code</code>", `href="https://example.org"`, "<li>one</li>", "<td>1</td>"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want it to contain %q", got, want)
		}
	}
}

func TestRenderRemovesUnsafeMarkup(t *testing.T) {
	for _, text := range []string{
		"<script>alert(1)</script>", "[x](javascript:alert(1))", "<img src=x onerror=alert(1)>", "<a href='  javascript:alert(1)'>x</a>",
		"<iframe src=//evil></iframe>", "<style>*{}</style>", "<form action=/sign-out method=post>", "![x](https://tracker/x.png)",
		"<p style=position:fixed>", "<a href=data:text/html,x>x</a>", "[x](//evil)", "<svg/onload=alert(1)>", "<p id=content class=x>",
	} {
		check(t, text)
	}
}

func FuzzRender(f *testing.F) {
	f.Add("<a href=\"javascript:alert(1)\" onclick=x>x</a>")
	f.Add("|a|b|\n|-|-|\nx\n")
	f.Add("[a]: https://example.org \"t\"\n\n[a] > - 1. ![a] **b** _c_ ~~d~~ `e` www.example.org")
	f.Fuzz(check)
}

// check fails the test if text renders to unsafe or excessive HTML.
func check(t *testing.T, text string) {
	t.Helper()
	rendered := markdown.Render(text)
	checkSize(t, text, rendered)
	tokens := html.NewTokenizer(strings.NewReader(rendered))
	for {
		switch tokens.Next() {
		case html.ErrorToken:
			return
		case html.StartTagToken, html.SelfClosingTagToken:
			token := tokens.Token()
			switch token.Data {
			case "script", "style", "iframe", "img", "form", "input", "object", "embed", "svg", "link", "meta", "base":
				t.Errorf("%q renders to <%s>", text, token.Data)
			}
			for _, a := range token.Attr {
				switch {
				case a.Key == "href" && (strings.HasPrefix(a.Val, "http://") || strings.HasPrefix(a.Val, "https://") || strings.HasPrefix(a.Val, "mailto:")):
				case a.Key == "rel", a.Key == "start", a.Key == "class" && a.Val == "typed" && !markdown.Accepts(text):
				default:
					t.Errorf("%q renders to the attribute %s=%q", text, a.Key, a.Val)
				}
			}
		}
	}
}
