package transfers

import (
	"archive/zip"
	"bytes"
	"errors"
	"io"
	"testing"
)

// sparse is a file of which only some is not zero: as large as it must be.
type sparse struct {
	size  int64
	parts map[int64][]byte
}

func (s *sparse) put(at int64, part []byte) int64 {
	s.parts[at] = part
	s.size = max(s.size, at+int64(len(part)))
	return at + int64(len(part))
}

func (s *sparse) ReadAt(p []byte, at int64) (int, error) {
	if at >= s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.size-at))
	clear(p[:n])
	for start, part := range s.parts {
		for i, b := range part {
			if k := start + int64(i) - at; k >= 0 && k < int64(n) {
				p[k] = b
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Entries larger than 4 GiB, entries behind them, and more than 65,535 of them.
func TestLargeArchivesAreReadByOthers(t *testing.T) {
	t.Parallel()
	file := &sparse{parts: map[int64][]byte{}}
	large := archived{Path: "channel/recordings/größer.mp4", Stored: true, CompressedSize: 5 << 30, Size: 5 << 30}
	at := file.put(0, large.local()) + large.Size
	at = file.put(at, large.descriptor())
	behind := archived{Start: at, Path: "channel/recordings/behind.mp4", Stored: true, CRC32: 0x3610a686, CompressedSize: 5, Size: 5}
	at = file.put(at, behind.local())
	at = file.put(at, []byte("hello"))
	at = file.put(at, behind.descriptor())
	start := at
	at = file.put(at, append(large.central(), behind.central()...))
	file.put(at, zipTail(2, start, at))
	r, err := zip.NewReader(file, file.size)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.File) != 2 || r.File[0].Name != large.Path || r.File[0].UncompressedSize64 != 5<<30 {
		t.Fatalf("it has %v", r.File)
	}
	if offset, err := r.File[0].DataOffset(); err != nil || offset != int64(len(large.local())) {
		t.Errorf("the first begins at %d, %v", offset, err)
	}
	from, err := r.File[1].Open()
	if err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(from); err != nil || string(content) != "hello" {
		t.Errorf("the second is %q, %v", content, err)
	}
}

func TestManyEntries(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	const entries = 70_000
	e := archived{Path: "x", Size: 0, CompressedSize: 0}
	b.Write(e.local())
	start := int64(b.Len())
	for range entries {
		b.Write(e.central())
	}
	b.Write(zipTail(entries, start, int64(b.Len())))
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil || len(r.File) != entries {
		t.Fatalf("%v", errors.Join(err, errors.New("entries are missing")))
	}
}
