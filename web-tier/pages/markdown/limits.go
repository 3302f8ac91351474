package markdown

// The limits are far above real descriptions: none of the 16,000 in the pyvideo.org catalogue
// comes near them.
const (
	// maxText is the maximum length of Markdown text, in bytes. A description of 20,000
	// characters of four bytes each is below it.
	maxText = 96 << 10

	// maxNesting limits the nesting of quotes and lists. A list counts twice, for itself and
	// its item. The parser visits all open blocks for every line.
	maxNesting = 32

	// maxCells limits the table cells beyond one per two bytes of text. Only cells that a row
	// omits take less text than that.
	maxCells = 1000

	// maxWork limits the work of inline parsers. Each character that starts one, such as * or [,
	// adds the length of its block, because it can cause a scan of the rest of the block or of
	// all other such characters. The limit allows 800 of them in a paragraph of 20,000
	// characters. The worst texts take about 100 ms.
	maxWork = 16 << 20

	// Rendered HTML is at most maxGrowth times as long as the text, plus maxExtra bytes. A list
	// of single letters grows threefold, a table of them eightfold.
	maxGrowth = 16
	maxExtra  = 16 << 10

	// maxCached limits the cache, in bytes: thousands of descriptions.
	maxCached = 16 << 20
)

// maxOutput returns the maximum length of the HTML of text.
func maxOutput(text string) int { return maxGrowth*len(text) + maxExtra }
