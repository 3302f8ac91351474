package queue

import (
	"fmt"
	"strconv"
)

// Offsets from the top of a queue's box to the baselines of its texts.
const (
	figureY = 42
	labelY  = 56
	statusY = 78
)

// figureColumns is the number of figures side by side in a queue's box.
const figureColumns = 5

// figureX returns the center of a figure's column.
func figureX(q queueNode, column int) int {
	return q.x + padding + (2*column+1)*(q.w-2*padding)/(2*figureColumns)
}

// edgePath returns the path of the coloured left edge of a queue's box.
func edgePath(r rect) string {
	return fmt.Sprintf("M%d %dv%d", r.x+2, r.y+8, r.h-16)
}

// deadLetterLabel returns the number of dead letters as text; empty for none.
func deadLetterLabel(n int64) string {
	if n == 0 {
		return ""
	}
	if n == 1 {
		return "1 dead letter"
	}
	return compact(n) + " dead letters"
}

// markerID returns the id of the arrowhead for a line of the given class.
func markerID(drawingID, class string) string {
	if class == "lit" {
		return drawingID + "-lit"
	}
	return drawingID + "-arrow"
}

func px(n int) string { return strconv.Itoa(n) }

func fontSize(t textLine) string { return strconv.FormatFloat(t.size, 'f', -1, 64) }
