package markdown

import (
	"bytes"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// bailout is the panic value with which a hook aborts goldmark when a text exceeds a limit. The
// parser cannot be stopped in another way.
type bailout struct{}

// meter counts the cells and the work that a text has used.
type meter struct {
	cells, maxCells int
	work            int
}

var meterKey = parser.NewContextKey()

func newContext(text string) parser.Context {
	pc := parser.NewContext()
	pc.Set(meterKey, &meter{maxCells: len(text)/2 + maxCells})
	return pc
}

func meterOf(pc parser.Context) *meter { return pc.Get(meterKey).(*meter) }

// limitedParser returns goldmark's default parser with hooks that enforce the limits.
func limitedParser() parser.Parser {
	blocks := parser.DefaultBlockParsers()
	for i, b := range blocks {
		blocks[i].Value = nestingLimit{b.Value.(parser.BlockParser)}
	}
	return parser.NewParser(
		parser.WithBlockParsers(blocks...),
		parser.WithInlineParsers(append(parser.DefaultInlineParsers(), util.Prioritized(workLimit{}, firstPriority))...),
		parser.WithParagraphTransformers(append(parser.DefaultParagraphTransformers(), util.Prioritized(cellLimit{}, firstPriority))...),
	)
}

// firstPriority runs the hooks before all parsers and transformers.
const firstPriority = 0

// nestingLimit wraps a block parser and limits the depth of its containers.
type nestingLimit struct{ parser.BlockParser }

func (p nestingLimit) Open(parent ast.Node, reader text.Reader, pc parser.Context) (ast.Node, parser.State) {
	node, state := p.BlockParser.Open(parent, reader, pc)
	if node != nil && state&parser.HasChildren != 0 {
		depth := 1
		for n := parent; n.Parent() != nil; n = n.Parent() {
			depth++
		}
		if depth > maxNesting {
			panic(bailout{})
		}
	}
	return node, state
}

// workLimit is an inline parser that parses nothing. It adds up the lengths of the blocks in
// which other inline parsers are about to run.
type workLimit struct{}

func (workLimit) Trigger() []byte { return []byte("*_~[]!<`(") }

func (workLimit) Parse(block ast.Node, _ text.Reader, pc parser.Context) ast.Node {
	lines := block.Lines()
	if lines.Len() == 0 {
		return nil
	}
	m := meterOf(pc)
	if m.work += lines.At(lines.Len()-1).Stop - lines.At(0).Start; m.work > maxWork {
		panic(bailout{})
	}
	return nil
}

// cellLimit is a paragraph transformer that changes nothing. It counts the cells of the table that
// a paragraph is about to become.
type cellLimit struct{}

func (cellLimit) Transform(paragraph *ast.Paragraph, reader text.Reader, pc parser.Context) {
	lines := paragraph.Lines()
	columns := 0
	for i := range lines.Len() {
		line := lines.At(i)
		columns = max(columns, delimiterColumns(line.Value(reader.Source())))
	}
	m := meterOf(pc)
	if m.cells += columns * lines.Len(); m.cells > m.maxCells {
		panic(bailout{})
	}
}

// delimiterColumns returns the maximum number of columns that line declares if it is a table's
// delimiter row, and 0 otherwise.
func delimiterColumns(line []byte) int {
	if len(bytes.Trim(line, "-|: \t\r\n\v\f")) > 0 || !bytes.ContainsRune(line, '-') {
		return 0
	}
	return bytes.Count(line, []byte("|")) + 1
}
