package uploads

import (
	"errors"
	"io"
	"testing"
)

// drip gives one byte at a time, as a client that sends just enough to be alive.
type drip struct{ left int }

func (d *drip) Read(into []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	d.left--
	into[0] = 'x'
	return 1, nil
}

func TestOnlyProgressMovesTheDeadline(t *testing.T) {
	for sent, want := range map[int]int{1: 1, minProgress - 1: 1, 3*minProgress + 1: 4} {
		moved := 0
		n, err := fill(&drip{sent}, make([]byte, pieceSize), func() { moved++ })
		if n != sent || !errors.Is(err, io.EOF) || moved != want {
			t.Errorf("%d bytes, one by one, moved the deadline %d times, want %d; read %d, %v", sent, moved, want, n, err)
		}
	}
}
