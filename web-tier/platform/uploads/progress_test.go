package uploads

import (
	"errors"
	"io"
	"testing"
)

// slowReader yields one byte per read, like a client that sends just enough to keep the
// connection open.
type slowReader struct{ remaining int }

func (r *slowReader) Read(p []byte) (int, error) {
	if r.remaining == 0 {
		return 0, io.EOF
	}
	r.remaining--
	p[0] = 'x'
	return 1, nil
}

func TestReadChunkReportsProgressEveryMinProgressBytes(t *testing.T) {
	for sent, want := range map[int]int{1: 1, minProgress - 1: 1, 3*minProgress + 1: 4} {
		calls := 0
		n, err := readChunk(&slowReader{sent}, make([]byte, chunkSize), func() { calls++ })
		if n != sent || !errors.Is(err, io.EOF) || calls != want {
			t.Errorf("%d single bytes: read %d, %v; onProgress called %d times, want %d", sent, n, err, calls, want)
		}
	}
}
