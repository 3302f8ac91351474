package transfers

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"unsafe"
)

// A decompressor that still has input, or output, stops all the same.
func TestUnpackingStopsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	content := &unpacked{from: &reading{ctx: ctx, rest: make([]byte, 1<<20)}, decompressor: bytes.NewReader(make([]byte, 1<<20))}
	file := &ranges{ctx: ctx, size: pieceSize, budget: -1, pieces: []piece{{0, make([]byte, pieceSize)}}}
	reads := map[string]func() (int, error){
		"the content":  func() (int, error) { return content.Read(make([]byte, 100)) },
		"the upload":   func() (int, error) { return packedSide{content}.Read(make([]byte, 100)) },
		"a kept piece": func() (int, error) { return file.ReadAt(make([]byte, 100), 0) },
	}
	for name, read := range reads {
		if n, err := read(); n != 100 || err != nil {
			t.Errorf("before: %s gives %d bytes, %v", name, n, err)
		}
	}
	cancel()
	for name, read := range reads {
		if n, err := read(); n != 0 || !errors.Is(err, context.Canceled) {
			t.Errorf("after: %s gives %d bytes, %v", name, n, err)
		}
	}
	if !errors.Is(content.from.failed, context.Canceled) || !errors.Is(file.failed, context.Canceled) {
		t.Error("the archive is blamed for it")
	}
}

// A rejection must not keep the megabyte of which it holds the beginning.
func TestPrintableTextIsACopy(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	if kept := printable(long, 100); len(kept) != 100 || unsafe.StringData(kept) == unsafe.StringData(long) {
		t.Error("the text is a part of the name")
	}
}
