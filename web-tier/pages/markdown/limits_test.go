package markdown_test

import (
	"strings"
	"testing"

	"techtalks.example/web-tier/pages/markdown"
)

// fill repeats s up to the maximum length of a description.
func fill(s string) string { return strings.Repeat(s, 20_000/len(s)) }

// excessive holds texts of at most 20,000 characters whose rendering costs too much.
var excessive = map[string]string{
	"a wide table of short rows":    strings.Repeat("|a", 300) + "\n" + strings.Repeat("|-", 300) + "\n" + strings.Repeat("x\n", 9_400),
	"a table of 90 columns":         strings.Repeat("|a", 90) + "\n" + strings.Repeat("|-", 90) + "\n" + strings.Repeat("x\n", 9_700),
	"several wide tables":           fill(strings.Repeat("|a", 90) + "\n" + strings.Repeat("|-", 90) + "\n" + strings.Repeat("x\n", 90) + "\n"),
	"a long reference used often":   "[a]: <https://example.org/" + strings.Repeat("u", 9_000) + ">\n\n" + strings.Repeat("[a] ", 2_700),
	"a long title used often":       "[a]: https://example.org/ \"" + strings.Repeat("t", 9_000) + "\"\n\n" + strings.Repeat("[a] ", 2_700),
	"nested quotes":                 fill(">"),
	"nested lists":                  fill("- ") + "a",
	"numbered lists in quotes":      fill("1. > "),
	"deep lists and blank lines":    strings.Repeat("- ", 1_000) + "a\n" + strings.Repeat("\n", 9_000),
	"nested brackets":               strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000),
	"unfinished links":              fill("[a]("),
	"runs of emphasis":              fill("*a_ "),
	"nested emphasis":               strings.Repeat("*a ", 3_300) + strings.Repeat("b* ", 3_300),
	"unfinished HTML":               fill("a <b c='"),
	"unfinished comments":           "a " + fill("<!--"),
	"unfinished code":               fill("a ` `` "),
	"unfinished links in a heading": "# " + fill("[a]("),
}

func TestExcessiveTextIsShownAsTyped(t *testing.T) {
	for name, text := range excessive {
		t.Run(name, func(t *testing.T) {
			if markdown.Accepts(text) {
				t.Error("Accepts returned true")
			}
			got := markdown.Render(text)
			checkSize(t, text, got)
			if !strings.HasPrefix(got, `<div class="typed">`) || strings.Contains(got, "<table") {
				t.Errorf("got %.200q, want escaped text", got)
			}
		})
	}
}

func TestExcessiveTextIsEscaped(t *testing.T) {
	got := markdown.Render("<script>alert('1')</script>\n\n" + fill(">"))
	if want := `<div class="typed">&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;`; !strings.HasPrefix(got, want) {
		t.Errorf("got %.200q, want escaped text", got)
	}
}

func TestLongOrdinaryTextIsAccepted(t *testing.T) {
	for name, text := range map[string]string{
		"prose":            fill("Some *emphasised* words, `code` and a [link](https://example.org/page). And\nmore of it.\n\n"),
		"a list of links":  fill("- [A talk](https://example.org/talks/a-talk), **Ada** & _Grace_\n"),
		"a table":          "|a|b|c|d|\n|-|-|-|-|\n" + fill("|one|two|three|four|\n"),
		"a sparse table":   strings.Repeat("|a", 20) + "\n" + strings.Repeat("|-", 20) + "\n" + strings.Repeat("|x\n", 50),
		"references":       "[a]: https://example.org/a/page/somewhere\n\n" + fill("See [the page][a] for more of this and that.\nAnd [a].\n\n"),
		"a long paragraph": fill("Words without any end, and (sometimes) a _few_ that are emphasised a lot. "),
		"nested lists":     fill("- a\n  - b\n    - c\n      - d\n        > e\n        > > f\n\n"),
		"code":             "```\n" + fill("if (*a)[i] < `b` { _ = !c }\n") + "```\n",
	} {
		if !markdown.Accepts(text) {
			t.Errorf("%s: Accepts returned false", name)
		}
		checkSize(t, text, markdown.Render(text))
	}
}

// checkSize fails the test if html is too long for its text.
func checkSize(t *testing.T, text, html string) {
	t.Helper()
	if limit := 16*len(text) + 16_384; len(html) > limit {
		t.Errorf("%.80q: got %d bytes of HTML from %d bytes of text, want at most %d", text, len(html), len(text), limit)
	}
}
