package markdown

import (
	"bytes"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// bailout is the panic by which a hook stops goldmark when a text exceeds a limit;
// the parser has no other way to stop.
type bailout struct{}

// meter counts what a text has used of its limits.
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

// boundedParser returns goldmark's default parser with hooks that count.
func boundedParser() parser.Parser {
	blocks := parser.DefaultBlockParsers()
	for i, b := range blocks {
		blocks[i].Value = nestingLimit{b.Value.(parser.BlockParser)}
	}
	return parser.NewParser(
		parser.WithBlockParsers(blocks...),
		parser.WithInlineParsers(append(parser.DefaultInlineParsers(), util.Prioritized(workLimit{}, first))...),
		parser.WithParagraphTransformers(append(parser.DefaultParagraphTransformers(), util.Prioritized(cellLimit{}, first))...),
	)
}

// first is the priority of the hooks: before all parsers and transformers.
const first = 0

// nestingLimit stops a block parser that opens containers too deep.
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

// workLimit is an inline parser that parses nothing: it counts how often others
// are about to run, and in blocks of what length.
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

// cellLimit is a transformer that changes nothing: it counts the cells of the
// table that a paragraph is about to become.
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

// delimiterColumns returns how many columns line declares, at most, as the line
// below a table's header; 0 for any other line.
func delimiterColumns(line []byte) int {
	if len(bytes.Trim(line, "-|: \t\r\n\v\f")) > 0 || !bytes.ContainsRune(line, '-') {
		return 0
	}
	return bytes.Count(line, []byte("|")) + 1
}
