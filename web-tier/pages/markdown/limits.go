package markdown

// The limits are far above what people write: of the 16,000 descriptions of the
// pyvideo.org catalogue none comes near one.
const (
	// maxText is the longest text, in bytes, that is read as Markdown. It is above
	// the 20,000 characters of a description at four bytes each.
	maxText = 96 << 10

	// maxNesting bounds quotations and lists within each other. A list counts twice,
	// itself and its item. The parser looks at all open blocks for every line.
	maxNesting = 32

	// maxCells bounds the cells that a text's tables have beyond one for every two
	// bytes of text. Only cells that a row leaves out cost less text than that.
	maxCells = 1000

	// maxWork bounds the inline parsers: the sum of the lengths of the blocks in
	// which they run, counted once for each character that starts one, such as * or
	// [. Each such character can make them scan the rest of its block, or
	// all other such characters. The limit is 800 of them in a single paragraph of
	// 20,000 characters; the worst texts take some 100 ms.
	maxWork = 16 << 20

	// Rendered text is at most maxGrowth times as long as the text, and maxExtra
	// bytes. A list of single letters grows threefold, a table of them eightfold.
	maxGrowth = 16
	maxExtra  = 16 << 10

	// maxCached bounds the bytes of rendered text in the cache: some thousands of
	// descriptions.
	maxCached = 16 << 20
)

func maxOutput(text string) int { return maxGrowth*len(text) + maxExtra }
