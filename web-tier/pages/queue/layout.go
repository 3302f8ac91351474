package queue

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// drawing is the layout of a topology in columns, from left to right: producers,
// exchanges, bindings with their patterns, queues, consumers. Its unit is that of the
// SVG's viewBox.
type drawing struct {
	width, height int
	headings      []textLine
	producers     []node
	exchanges     []exchangeNode
	bindings      []bindingLine
	queues        []queueNode
	consumers     []node
	wires         []wire
}

type rect struct{ x, y, w, h int }

func (r rect) right() int   { return r.x + r.w }
func (r rect) centerY() int { return r.y + r.h/2 }

// textLine is a line of text, positioned by its baseline. fullText is set if text is
// clipped.
type textLine struct {
	x, y           int
	text, fullText string
	size           float64
	centered       bool // x is the center, not the start
}

// node is a producer, or a group of consumers.
type node struct {
	rect
	lines []textLine
}

// exchangeNode is an exchange. Its outline depends on its type.
type exchangeNode struct {
	rect
	*queuepb.Exchange
	name, kind textLine
	outline    string
}

// bindingLine is a binding, drawn as a line from its exchange to its queue.
type bindingLine struct {
	*queuepb.Binding
	path    string
	pattern textLine
}

type queueNode struct {
	rect
	*queuepb.Queue
	name textLine
}

// wire is a line from a producer to an exchange, or from a queue to its consumers.
type wire struct{ path, from, to string }

// Dimensions of the drawing. Font sizes are those of queue.css.
const (
	nameSize    = 12.5
	patternSize = 11.5
	noteSize    = 11
	// glyphAspect is the width of a monospaced character relative to its font size:
	// 0.62 for the widest font in queue.css. Names are monospaced so that the server
	// knows their width.
	glyphAspect = 0.62

	margin     = 8
	columnTop  = 30 // below the headings
	padding    = 12 // between a text and the edge of its box
	boxHeight  = 90
	boxWidth   = 250 // five figures side by side
	boxGap     = 14
	nodeGap    = 12
	lineHeight = 16
	// portGap is the distance between the ends of two bindings of a queue, with room
	// for a pattern between them.
	portGap = 20
	// curveGap and wideCurveGap are the gaps between columns in which lines curve.
	curveGap       = 44
	wideCurveGap   = 70
	exchangeHeight = 50
	// slant is the width of an exchange's outline on either side of its name.
	slant = 16
	// fan is the height by which a fanout exchange widens from left to right, at the
	// top and at the bottom.
	fan = 13

	// Longer names and patterns are clipped; a <title> holds the full text. In
	// characters.
	maxNameLen    = 34
	maxPatternLen = 30
	maxHostLen    = 20
)

// layout arranges the topology for test messages if test is set, and that of the site
// if not.
func layout(s *queuepb.Snapshot, test bool) drawing {
	t := selectTopology(s, test)
	var d drawing
	x := margin
	addColumn := func(heading string, w int) (left int) {
		left = x
		d.headings = append(d.headings, textLine{x: left + w/2, y: margin + 10, text: heading, size: noteSize, centered: true})
		x += w
		return left
	}
	producersW := columnWidth(t.producers, nameSize, maxHostLen, 70)
	producersX := addColumn("producers", producersW)
	x += curveGap
	exchangesW := columnWidth(names(t.exchanges), nameSize, maxNameLen, 60) + 2*slant
	exchangesX := addColumn("exchanges", exchangesW)
	x += wideCurveGap
	patternsW := columnWidth(t.bindingLabels(), patternSize, maxPatternLen, 60)
	patternsX := addColumn("bindings", patternsW)
	queuesW := max(boxWidth, columnWidth(names(t.queues), nameSize, maxNameLen, 0))
	queuesX := addColumn("queues", queuesW)

	ports := d.placeQueues(t, queuesX, queuesW)
	d.placeExchanges(t, exchangesX, exchangesW, ports)
	d.drawBindings(t, patternsX, ports)
	d.placeProducers(t, producersX, producersW)
	if groups := groupConsumers(t.queues); len(groups) > 0 {
		x += curveGap + curveGap/2
		w := groupWidth(groups)
		d.placeConsumers(groups, addColumn("consumers", w), w)
	}
	d.width = x + margin
	for _, r := range d.boxes() {
		d.height = max(d.height, r.y+r.h+margin)
	}
	return d
}

// belowQueues returns the y below the last queue. Producers and exchanges that lead to
// no queue are placed there.
func (d *drawing) belowQueues() float64 {
	if len(d.queues) == 0 {
		return columnTop
	}
	last := d.queues[len(d.queues)-1]
	return float64(last.y + last.h + boxGap)
}

// boxes returns the rectangles of everything but lines and texts.
func (d *drawing) boxes() (boxes []rect) {
	for _, n := range slices.Concat(d.producers, d.consumers) {
		boxes = append(boxes, n.rect)
	}
	for _, e := range d.exchanges {
		boxes = append(boxes, e.rect)
	}
	for _, q := range d.queues {
		boxes = append(boxes, q.rect)
	}
	return boxes
}

// placeQueues stacks the queues. It returns the y at which each binding ends.
func (d *drawing) placeQueues(t topology, x, w int) (ports map[*queuepb.Binding]int) {
	ports = map[*queuepb.Binding]int{}
	y := columnTop
	for _, q := range t.queues {
		bindings := t.bindingsOf(q)
		n := queueNode{Queue: q, rect: rect{x, y, w, max(boxHeight, len(bindings)*portGap+padding)}}
		n.name = clippedLine(q.Name, maxNameLen, nameSize, x+padding, y+20, false)
		for i, b := range bindings {
			ports[b] = n.centerY() + (2*i-len(bindings)+1)*portGap/2
		}
		d.queues = append(d.queues, n)
		y += n.h + boxGap
	}
	return ports
}

// placeExchanges places each exchange at the mean height of its bindings.
func (d *drawing) placeExchanges(t topology, x, w int, ports map[*queuepb.Binding]int) {
	centers := make([]float64, len(t.exchanges))
	for i, e := range t.exchanges {
		var ends []int
		for _, b := range t.bindings {
			if b.Exchange == e.Name {
				ends = append(ends, ports[b])
			}
		}
		centers[i] = min(mean(ends), d.belowQueues())
	}
	for i, center := range spread(centers, slices.Repeat([]int{exchangeHeight}, len(centers)), nodeGap) {
		e := t.exchanges[i]
		r := rect{x, center - exchangeHeight/2, w, exchangeHeight}
		d.exchanges = append(d.exchanges, exchangeNode{
			rect: r, Exchange: e, outline: outline(e.Type, r),
			name: clippedLine(e.Name, maxNameLen, nameSize, x+w/2, center-3, true),
			kind: textLine{x: x + w/2, y: center + 13, text: e.Type, size: noteSize, centered: true},
		})
	}
}

// drawBindings draws each binding as a curve, followed by a straight line below its
// pattern into the queue.
func (d *drawing) drawBindings(t topology, patternsX int, ports map[*queuepb.Binding]int) {
	exchanges, queues := map[string]exchangeNode{}, map[string]queueNode{}
	for _, e := range d.exchanges {
		exchanges[e.Name] = e
	}
	for _, q := range d.queues {
		queues[q.Name] = q
	}
	for _, b := range t.bindings {
		e, y := exchanges[b.Exchange], ports[b]
		d.bindings = append(d.bindings, bindingLine{
			Binding: b, path: curve(e.right(), e.centerY(), patternsX, y) + fmt.Sprintf("H%d", queues[b.Queue].x),
			pattern: clippedLine(bindingLabel(b, e.Type), maxPatternLen, patternSize, patternsX+padding/2, y-4, false),
		})
	}
}

func (d *drawing) placeProducers(t topology, x, w int) {
	centers := make([]float64, len(t.producers))
	for i, name := range t.producers {
		var targets []int
		for _, e := range d.exchanges {
			if slices.Contains(t.publishes[name], e.Name) {
				targets = append(targets, e.centerY())
			}
		}
		centers[i] = min(mean(targets), d.belowQueues())
	}
	const height = lineHeight + padding
	for i, center := range spread(centers, slices.Repeat([]int{height}, len(centers)), nodeGap) {
		name := t.producers[i]
		n := node{rect: rect{x, center - height/2, w, height}}
		n.lines = []textLine{clippedLine(name, maxHostLen, nameSize, x+w/2, center+4, true)}
		d.producers = append(d.producers, n)
		for _, e := range d.exchanges {
			if slices.Contains(t.publishes[name], e.Name) {
				d.wires = append(d.wires, wire{curve(n.right(), n.centerY(), e.x, e.centerY()), name, e.Name})
			}
		}
	}
}

func (d *drawing) placeConsumers(groups []consumerGroup, x, w int) {
	centers, heights := make([]float64, len(groups)), make([]int, len(groups))
	for i, g := range groups {
		var sources []int
		for _, q := range d.queues {
			if slices.Contains(g.queues, q.Name) {
				sources = append(sources, q.centerY())
			}
		}
		centers[i], heights[i] = mean(sources), len(g.lines)*lineHeight+padding
	}
	for i, center := range spread(centers, heights, nodeGap) {
		g := groups[i]
		n := node{rect: rect{x, center - heights[i]/2, w, heights[i]}}
		for j, line := range g.lines {
			n.lines = append(n.lines, clippedLine(line, maxHostLen, noteSize, x+padding, n.y+(j+1)*lineHeight+padding/4, false))
		}
		for _, q := range d.queues {
			if slices.Contains(g.queues, q.Name) {
				d.wires = append(d.wires, wire{curve(q.right(), q.centerY(), n.x, n.centerY()), q.Name, ""})
			}
		}
		d.consumers = append(d.consumers, n)
	}
}

func groupWidth(groups []consumerGroup) int {
	var lines []string
	for _, g := range groups {
		lines = append(lines, g.lines...)
	}
	return columnWidth(lines, noteSize, maxHostLen, 90)
}

// outline returns the outline of an exchange by its type: an arrow for direct, a
// hexagon for topic, a widening shape for fanout, a sheet with a folded corner for
// headers.
func outline(kind string, box rect) string {
	l, r, t, b := box.x, box.right(), box.y, box.y+box.h
	switch kind {
	case "direct":
		return fmt.Sprintf("M%d %dH%dL%d %dL%d %dH%dz", l, t, r-slant, r, box.centerY(), r-slant, b, l)
	case "topic":
		return fmt.Sprintf("M%d %dH%dL%d %dL%d %dH%dL%d %dz", l+slant, t, r-slant, r, box.centerY(), r-slant, b, l+slant, l, box.centerY())
	case "fanout":
		return fmt.Sprintf("M%d %dL%d %dV%dL%d %dz", l, t+fan, r, t, b, l, b-fan)
	case "headers":
		return fmt.Sprintf("M%d %dH%dL%d %dV%dH%dzM%d %dV%dH%d", l, t, r-slant, r, t+slant, b, l, r-slant, t, t+slant, r)
	}
	return fmt.Sprintf("M%d %dH%dV%dH%dz", l, t, r, b, l)
}

// curve returns a path from one point to another that is horizontal at both.
func curve(x1, y1, x2, y2 int) string {
	midX := (x1 + x2) / 2
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, midX, y1, midX, y2, x2, y2)
}

// spread moves boxes of the given centers and heights apart until the gap between them
// is at least gap. It keeps their order, places none above columnTop, and minimizes the
// sum of the squared moves: boxes that would overlap become a block at their mean. It
// returns the new centers.
func spread(centers []float64, heights []int, gap int) []int {
	// sum adds up, over the boxes of a block, the top of the block that leaves the box
	// where it was. height includes the gap below.
	type block struct{ sum, height float64 }
	var blocks []block
	var sizes []int
	for i, center := range centers {
		blocks = append(blocks, block{max(center-float64(heights[i])/2, columnTop), float64(heights[i] + gap)})
		sizes = append(sizes, 1)
		for n := len(blocks) - 1; n > 0; n-- {
			above, below := blocks[n-1], blocks[n]
			if above.sum/float64(sizes[n-1])+above.height <= below.sum/float64(sizes[n]) {
				break
			}
			blocks[n-1] = block{max(above.sum+below.sum-above.height*float64(sizes[n]), columnTop*float64(sizes[n-1]+sizes[n])), above.height + below.height}
			sizes[n-1] += sizes[n]
			blocks, sizes = blocks[:n], sizes[:n]
		}
	}
	var moved []int
	for n, b := range blocks {
		y := int(math.Round(b.sum / float64(sizes[n])))
		for range sizes[n] {
			height := heights[len(moved)]
			moved = append(moved, y+height/2)
			y += height + gap
		}
	}
	return moved
}

// clip shortens s to maxLen characters.
func clip(s string, maxLen int) string {
	if utf8.RuneCountInString(s) <= maxLen {
		return s
	}
	return string([]rune(s)[:maxLen-1]) + "…"
}

func clippedLine(s string, maxLen int, size float64, x, y int, centered bool) textLine {
	t := textLine{x: x, y: y, text: clip(s, maxLen), size: size, centered: centered}
	if t.text != s {
		t.fullText = s
	}
	return t
}

// textWidth returns the width of a monospaced text.
func textWidth(s string, size float64) int {
	return int(math.Ceil(float64(utf8.RuneCountInString(s)) * glyphAspect * size))
}

// columnWidth returns the width of a column of clipped texts, with padding.
func columnWidth(texts []string, size float64, maxLen, minWidth int) int {
	w := minWidth
	for _, s := range texts {
		w = max(w, textWidth(clip(s, maxLen), size))
	}
	return w + 2*padding
}

func names[T interface{ GetName() string }](items []T) (names []string) {
	for _, item := range items {
		names = append(names, item.GetName())
	}
	return names
}
