package markdown

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

func TestMarkdownBecomesHTML(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"# Big", "<h3>Big</h3>"},
		{"plain *and* **strong**", "<p>plain <em>and</em> <strong>strong</strong></p>"},
		{"see https://example.org/a", `<a href="https://example.org/a" rel="nofollow noreferrer">`},
		{"[x](javascript:alert(1))", "<p>x</p>"},
		{"[x](JaVaScRiPt&colon;alert(1))", "x</p>"},
		{"<script>alert(1)</script>", ""},
		{"<img src=x onerror=alert(1)>", ""},
		{"![cat](https://example.org/cat.png)", ""},
		{"| a | b |\n| :- | -: |\n| 1 | 2 |", "<td>1</td>"},
	} {
		if got := HTML(c.source); !strings.Contains(got, c.want) {
			t.Errorf("HTML(%q) = %q, want %q in it", c.source, got, c.want)
		}
	}
}

func TestTooMuchIsShownAsTyped(t *testing.T) {
	got := HTML(strings.Repeat("*", maxInput) + "<b>")
	if !strings.HasPrefix(got, "<pre>*") || strings.Contains(got, "<b>") {
		t.Errorf("got %.40q… with length %d", got, len(got))
	}
}

// Nothing that runs, loads or leads to a scheme of its own comes out, whatever
// goes in.
func FuzzHTML(f *testing.F) {
	for _, seed := range []string{"# a", "[a](javascript:b)", "<svg/onload=x>", "![a](b)", "<a href='data:x'>y</a>", "a\n===\n\x00", "`x`_", "<p style='x'>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, source string) {
		out := HTML(source)
		for tokens := html.NewTokenizer(strings.NewReader(out)); tokens.Next() != html.ErrorToken; {
			token := tokens.Token()
			if token.Type != html.StartTagToken && token.Type != html.SelfClosingTagToken {
				continue
			}
			for _, a := range token.Attr {
				switch {
				case token.Data == "a" && a.Key == "href":
					u, err := url.Parse(a.Val)
					if err != nil || !slices.Contains([]string{"http", "https", "mailto"}, strings.ToLower(u.Scheme)) {
						t.Errorf("%q gave the link %q", source, a.Val)
					}
				case token.Data == "a" && a.Key == "rel", token.Data == "ol" && a.Key == "start":
				default:
					t.Errorf("%q gave the attribute %s on %s", source, a.Key, token.Data)
				}
			}
			if slices.Contains([]string{"script", "style", "iframe", "img", "svg", "form", "object"}, token.Data) {
				t.Errorf("%q gave %s", source, token.Data)
			}
		}
	})
}
