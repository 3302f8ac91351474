package transfers

import (
	"archive/zip"
	"bytes"
	"io"
	"testing"
)

// sparse is a large file of zeros, with data at some offsets.
type sparse struct {
	size  int64
	parts map[int64][]byte
}

func (s *sparse) put(offset int64, part []byte) int64 {
	s.parts[offset] = part
	s.size = max(s.size, offset+int64(len(part)))
	return offset + int64(len(part))
}

func (s *sparse) ReadAt(p []byte, offset int64) (int, error) {
	if offset >= s.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), s.size-offset))
	clear(p[:n])
	for start, part := range s.parts {
		for i, b := range part {
			if k := start + int64(i) - offset; k >= 0 && k < int64(n) {
				p[k] = b
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// An entry larger than 4 GiB, and one after it.
func TestZip64EntriesAreReadable(t *testing.T) {
	t.Parallel()
	file := &sparse{parts: map[int64][]byte{}}
	large := zipEntry{Path: "channel/recordings/größer.mp4", Stored: true, CompressedSize: 5 << 30, Size: 5 << 30}
	offset := file.put(0, large.localHeader()) + large.Size
	offset = file.put(offset, large.dataDescriptor())
	second := zipEntry{Start: offset, Path: "channel/recordings/second.mp4", Stored: true, CRC32: 0x3610a686, CompressedSize: 5, Size: 5}
	offset = file.put(offset, second.localHeader())
	offset = file.put(offset, []byte("hello"))
	offset = file.put(offset, second.dataDescriptor())
	start := offset
	offset = file.put(offset, append(large.centralHeader(), second.centralHeader()...))
	file.put(offset, zipEndRecords(2, start, offset))
	r, err := zip.NewReader(file, file.size)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.File) != 2 || r.File[0].Name != large.Path || r.File[0].UncompressedSize64 != 5<<30 {
		t.Fatalf("got files %v", r.File)
	}
	if offset, err := r.File[0].DataOffset(); err != nil || offset != int64(len(large.localHeader())) {
		t.Errorf("first entry: got data offset %d, %v; want %d", offset, err, len(large.localHeader()))
	}
	src, err := r.File[1].Open()
	if err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(src); err != nil || string(content) != "hello" {
		t.Errorf("second entry: got %q, %v; want hello", content, err)
	}
}

// More entries than fit in 16 bits.
func TestZip64DirectoryIsReadable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	const entries = 70_000
	e := zipEntry{Path: "x", Size: 0, CompressedSize: 0}
	b.Write(e.localHeader())
	start := int64(b.Len())
	for range entries {
		b.Write(e.centralHeader())
	}
	b.Write(zipEndRecords(entries, start, int64(b.Len())))
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.File) != entries {
		t.Fatalf("got %d entries, want %d", len(r.File), entries)
	}
}
