package queue

import (
	"fmt"
	"strconv"
)

// Where things are in a queue's box, from its top.
const (
	figureY   = 42
	labelY    = 56
	standingY = 78
)

// figures is how many numbers stand side by side in a queue's box.
const figures = 5

// figureX is the middle of a number's column.
func figureX(b box, column int) int { return b.x + padding + (2*column+1)*(b.w-2*padding)/(2*figures) }

// edge is the coloured side of a queue's box.
func edge(p place) string {
	return fmt.Sprintf("M%d %dv%d", p.x+2, p.y+8, p.h-16)
}

// dead says how many dead letters there are; nothing when there is none.
func dead(n int64) string {
	if n == 0 {
		return ""
	}
	if n == 1 {
		return "1 dead letter"
	}
	return short(n) + " dead letters"
}

// note says what became of the message in a queue.
func (l *light) note(queue string) string {
	if note, gets := l.notes[queue]; gets {
		return note
	}
	return "Not for this queue"
}

func arrowOf(id, light string) string {
	if light == "lit" {
		return id + "-lit"
	}
	return id + "-arrow"
}

func px(n int) string { return strconv.Itoa(n) }

func size(t text) string { return strconv.FormatFloat(t.size, 'f', -1, 64) }
