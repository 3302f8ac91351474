package transfers

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"unsafe"
)

// Readers stop when the context ends, even if they have buffered data.
func TestReadersStopWhenContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	content := &unpackReader{src: &fileReader{ctx: ctx, buffered: make([]byte, 1<<20)}, decompressor: bytes.NewReader(make([]byte, 1<<20))}
	file := &rangeReader{ctx: ctx, size: blockSize, budget: -1, blocks: []block{{0, make([]byte, blockSize)}}}
	reads := map[string]func() (int, error){
		"content":      func() (int, error) { return content.Read(make([]byte, 100)) },
		"upload":       func() (int, error) { return packedReader{content}.Read(make([]byte, 100)) },
		"cached block": func() (int, error) { return file.ReadAt(make([]byte, 100), 0) },
	}
	for name, read := range reads {
		if n, err := read(); n != 100 || err != nil {
			t.Errorf("%s: got %d bytes, %v; want 100", name, n, err)
		}
	}
	cancel()
	for name, read := range reads {
		if n, err := read(); n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("%s after cancel: got %d bytes, %v; want context.Canceled", name, n, err)
		}
	}
	if !errors.Is(content.src.failure, context.Canceled) || !errors.Is(file.failure, context.Canceled) {
		t.Error("the cancellation is not recorded as the readers' failure")
	}
}

// A truncated name must not keep the whole name in memory.
func TestPrintableReturnsACopy(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	if kept := printable(long, 100); len(kept) != 100 || unsafe.StringData(kept) == unsafe.StringData(long) {
		t.Error("the result is a substring of the input")
	}
}
