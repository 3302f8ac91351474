package queue

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	queuepb "techtalks.example/proto/techtalks/queue/v1"
)

// drawing is a topology with a place for everything, in columns from the left:
// producers, exchanges, bindings with their patterns, queues, consumers. Units
// are those of the SVG's viewBox.
type drawing struct {
	width, height int
	headings      []text
	producers     []node
	exchanges     []exchange
	bindings      []binding
	queues        []box
	consumers     []node
	wires         []wire // what is no binding
}

// place is a rectangle.
type place struct{ x, y, w, h int }

func (p place) right() int { return p.x + p.w }
func (p place) mid() int   { return p.y + p.h/2 }

// text is a line of text with its baseline; full is all of it when it was clipped.
type text struct {
	x, y       int
	text, full string
	size       float64
	middle     bool // x is its middle, not its start
}

// node is a producer, or consumers that consume the same queues.
type node struct {
	place
	lines []text
}

// exchange is an exchange; its outline is its type's.
type exchange struct {
	place
	*queuepb.Exchange
	name, kind text
	outline    string
}

// binding is a binding as a line from its exchange to its queue.
type binding struct {
	*queuepb.Binding
	path    string
	pattern text
}

// box is a queue.
type box struct {
	place
	*queuepb.Queue
	name text
}

// wire is a line between a producer and an exchange, or a queue and its
// consumers.
type wire struct{ path, from, to string }

// What there is room for. Sizes are the stylesheet's.
const (
	nameSize    = 12.5
	patternSize = 11.5
	noteSize    = 11
	// glyph is how wide a character of a monospaced font is, against its size: the
	// widest of those in the stylesheet has 0.62. Names are monospaced so that
	// their room is known before a browser draws them.
	glyph = 0.62

	margin     = 8
	top        = 30 // of the columns, below their headings
	padding    = 12 // beside a text in its box
	boxHeight  = 90
	boxWidth   = 250 // five numbers side by side
	boxGap     = 14
	nodeGap    = 12
	lineHeight = 16
	// Two bindings of a queue end this far apart: a pattern stands between them.
	portGap = 20
	// What lines bend in.
	bend      = 44
	wideBend  = 70
	exchangeH = 50
	// slant is what an exchange's outline takes on either side of its name.
	slant = 16
	// fan is how much narrower a fanout exchange begins than it ends, on each side.
	fan = 13

	// Longer names and patterns are clipped; all of them is in their title.
	maxName    = 34
	maxPattern = 30
	maxHost    = 20
)

// layout places the site's own topology, or that of the test messages.
func layout(s *queuepb.Snapshot, test bool) drawing {
	t := part(s, test)
	var d drawing
	x := margin
	column := func(heading string, w int) int {
		at := x
		d.headings = append(d.headings, text{x: at + w/2, y: margin + 10, text: heading, size: noteSize, middle: true})
		x += w
		return at
	}
	producersW := widest(t.producers, nameSize, maxHost, 70)
	producersX := column("producers", producersW)
	x += bend
	exchangesW := widest(names(t.exchanges), nameSize, maxName, 60) + 2*slant
	exchangesX := column("exchanges", exchangesW)
	x += wideBend
	patternsW := widest(t.patterns(), patternSize, maxPattern, 60)
	patternsX := column("bindings", patternsW)
	queuesW := max(boxWidth, widest(names(t.queues), nameSize, maxName, 0))
	queuesX := column("queues", queuesW)

	ports := d.placeQueues(t, queuesX, queuesW)
	d.placeExchanges(t, exchangesX, exchangesW, ports)
	d.bind(t, patternsX, ports)
	d.placeProducers(t, producersX, producersW)
	if groups := group(t.queues); len(groups) > 0 {
		x += bend + bend/2
		w := groupWidth(groups)
		d.placeConsumers(groups, column("consumers", w), w)
	}
	d.width = x + margin
	for _, p := range d.places() {
		d.height = max(d.height, p.y+p.h+margin)
	}
	return d
}

// bottom is below the queues: there stands what leads to none.
func (d *drawing) bottom() float64 {
	if len(d.queues) == 0 {
		return top
	}
	last := d.queues[len(d.queues)-1]
	return float64(last.y + last.h + boxGap)
}

func (d *drawing) places() (all []place) {
	for _, n := range slices.Concat(d.producers, d.consumers) {
		all = append(all, n.place)
	}
	for _, e := range d.exchanges {
		all = append(all, e.place)
	}
	for _, q := range d.queues {
		all = append(all, q.place)
	}
	return all
}

// placeQueues stacks the queues, and returns where the bindings end, by their
// place in t.
func (d *drawing) placeQueues(t topology, x, w int) (ports map[*queuepb.Binding]int) {
	ports = map[*queuepb.Binding]int{}
	y := top
	for _, q := range t.queues {
		into := t.into(q)
		b := box{Queue: q, place: place{x, y, w, max(boxHeight, len(into)*portGap+padding)}}
		b.name = clipped(q.Name, maxName, nameSize, x+padding, y+20, false)
		for i, bound := range into {
			ports[bound] = b.mid() + (2*i-len(into)+1)*portGap/2
		}
		d.queues = append(d.queues, b)
		y += b.h + boxGap
	}
	return ports
}

// placeExchanges places each exchange before the middle of its bindings.
func (d *drawing) placeExchanges(t topology, x, w int, ports map[*queuepb.Binding]int) {
	mids := make([]float64, len(t.exchanges))
	for i, e := range t.exchanges {
		var ends []int
		for _, b := range t.bindings {
			if b.Exchange == e.Name {
				ends = append(ends, ports[b])
			}
		}
		mids[i] = min(mean(ends), d.bottom())
	}
	for i, mid := range spread(mids, slices.Repeat([]int{exchangeH}, len(mids)), nodeGap) {
		e := t.exchanges[i]
		p := place{x, mid - exchangeH/2, w, exchangeH}
		d.exchanges = append(d.exchanges, exchange{
			place: p, Exchange: e, outline: outline(e.Type, p),
			name: clipped(e.Name, maxName, nameSize, x+w/2, mid-3, true),
			kind: text{x: x + w/2, y: mid + 13, text: e.Type, size: noteSize, middle: true},
		})
	}
}

// bind draws the bindings: a bend, then straight below the pattern into the queue.
func (d *drawing) bind(t topology, patternsX int, ports map[*queuepb.Binding]int) {
	from, to := map[string]exchange{}, map[string]box{}
	for _, e := range d.exchanges {
		from[e.Name] = e
	}
	for _, q := range d.queues {
		to[q.Name] = q
	}
	for _, b := range t.bindings {
		e, y := from[b.Exchange], ports[b]
		d.bindings = append(d.bindings, binding{
			Binding: b, path: curve(e.right(), e.mid(), patternsX, y) + fmt.Sprintf("H%d", to[b.Queue].x),
			pattern: clipped(asks(b, e.Type), maxPattern, patternSize, patternsX+padding/2, y-4, false),
		})
	}
}

func (d *drawing) placeProducers(t topology, x, w int) {
	mids := make([]float64, len(t.producers))
	for i, name := range t.producers {
		var of []int
		for _, e := range d.exchanges {
			if slices.Contains(t.publishes[name], e.Name) {
				of = append(of, e.mid())
			}
		}
		mids[i] = min(mean(of), d.bottom())
	}
	const height = lineHeight + padding
	for i, mid := range spread(mids, slices.Repeat([]int{height}, len(mids)), nodeGap) {
		name := t.producers[i]
		n := node{place: place{x, mid - height/2, w, height}}
		n.lines = []text{clipped(name, maxHost, nameSize, x+w/2, mid+4, true)}
		d.producers = append(d.producers, n)
		for _, e := range d.exchanges {
			if slices.Contains(t.publishes[name], e.Name) {
				d.wires = append(d.wires, wire{curve(n.right(), n.mid(), e.x, e.mid()), name, e.Name})
			}
		}
	}
}

func (d *drawing) placeConsumers(groups []consumers, x, w int) {
	mids, heights := make([]float64, len(groups)), make([]int, len(groups))
	for i, g := range groups {
		var of []int
		for _, q := range d.queues {
			if slices.Contains(g.queues, q.Name) {
				of = append(of, q.mid())
			}
		}
		mids[i], heights[i] = mean(of), len(g.lines)*lineHeight+padding
	}
	for i, mid := range spread(mids, heights, nodeGap) {
		g := groups[i]
		n := node{place: place{x, mid - heights[i]/2, w, heights[i]}}
		for j, line := range g.lines {
			n.lines = append(n.lines, clipped(line, maxHost, noteSize, x+padding, n.y+(j+1)*lineHeight+padding/4, false))
		}
		for _, q := range d.queues {
			if slices.Contains(g.queues, q.Name) {
				d.wires = append(d.wires, wire{curve(q.right(), q.mid(), n.x, n.mid()), q.Name, ""})
			}
		}
		d.consumers = append(d.consumers, n)
	}
}

func groupWidth(groups []consumers) int {
	var all []string
	for _, g := range groups {
		all = append(all, g.lines...)
	}
	return widest(all, noteSize, maxHost, 90)
}

// outline is the shape of an exchange by its type: a direct one points at a queue,
// a topic has facets, a fanout widens, headers are a sheet with a corner.
func outline(kind string, p place) string {
	l, r, t, b := p.x, p.right(), p.y, p.y+p.h
	switch kind {
	case "direct":
		return fmt.Sprintf("M%d %dH%dL%d %dL%d %dH%dz", l, t, r-slant, r, p.mid(), r-slant, b, l)
	case "topic":
		return fmt.Sprintf("M%d %dH%dL%d %dL%d %dH%dL%d %dz", l+slant, t, r-slant, r, p.mid(), r-slant, b, l+slant, l, p.mid())
	case "fanout":
		return fmt.Sprintf("M%d %dL%d %dV%dL%d %dz", l, t+fan, r, t, b, l, b-fan)
	case "headers":
		return fmt.Sprintf("M%d %dH%dL%d %dV%dH%dzM%d %dV%dH%d", l, t, r-slant, r, t+slant, b, l, r-slant, t, t+slant, r)
	}
	return fmt.Sprintf("M%d %dH%dV%dH%dz", l, t, r, b, l)
}

// curve leads from one point to another, level at both.
func curve(x1, y1, x2, y2 int) string {
	half := (x1 + x2) / 2
	return fmt.Sprintf("M%d %dC%d %d %d %d %d %d", x1, y1, half, y1, half, y2, x2, y2)
}

// spread moves middles apart, as little as it takes, until boxes of these heights
// do not touch; in the order they are in, and none above the top. It is the least
// squares of the moves: boxes that would overlap become one block at their mean.
func spread(mids []float64, heights []int, gap int) []int {
	type block struct{ sum, height float64 } // of where its top would be; with the gap below
	var blocks []block
	var sizes []int
	for i, mid := range mids {
		blocks = append(blocks, block{max(mid-float64(heights[i])/2, top), float64(heights[i] + gap)})
		sizes = append(sizes, 1)
		for n := len(blocks) - 1; n > 0; n-- {
			above, below := blocks[n-1], blocks[n]
			if above.sum/float64(sizes[n-1])+above.height <= below.sum/float64(sizes[n]) {
				break
			}
			blocks[n-1] = block{max(above.sum+below.sum-above.height*float64(sizes[n]), top*float64(sizes[n-1]+sizes[n])), above.height + below.height}
			sizes[n-1] += sizes[n]
			blocks, sizes = blocks[:n], sizes[:n]
		}
	}
	var at []int
	for n, b := range blocks {
		y := int(math.Round(b.sum / float64(sizes[n])))
		for range sizes[n] {
			height := heights[len(at)]
			at = append(at, y+height/2)
			y += height + gap
		}
	}
	return at
}

// clip returns at most so many characters of a name.
func clip(name string, most int) string {
	if utf8.RuneCountInString(name) <= most {
		return name
	}
	return string([]rune(name)[:most-1]) + "…"
}

func clipped(name string, most int, size float64, x, y int, middle bool) text {
	t := text{x: x, y: y, text: clip(name, most), size: size, middle: middle}
	if t.text != name {
		t.full = name
	}
	return t
}

// room is how wide a monospaced text is.
func room(s string, size float64) int {
	return int(math.Ceil(float64(utf8.RuneCountInString(s)) * glyph * size))
}

// widest returns how wide a column is for names, with padding.
func widest(names []string, size float64, most, least int) int {
	for _, name := range names {
		least = max(least, room(clip(name, most), size))
	}
	return least + 2*padding
}

func names[T interface{ GetName() string }](all []T) (names []string) {
	for _, one := range all {
		names = append(names, one.GetName())
	}
	return names
}
