package transfers_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// patchedZip is a .zip of one talk whose line in the directory is changed: edit
// gets it, and returns it.
func patchedZip(t *testing.T, edit func(line []byte) []byte) []byte {
	t.Helper()
	b := packZip(t, []packed{{"all/e/videos/one.json", `{"title": "One"}`}})
	start := bytes.Index(b, []byte("PK\x01\x02"))
	end := bytes.Index(b, []byte("PK\x05\x06"))
	line := edit(slices.Clone(b[start:end]))
	tail := slices.Clone(b[end:])
	binary.LittleEndian.PutUint32(tail[12:], uint32(len(line)))
	return slices.Concat(b[:start], line, tail)
}

// zip64 replaces an entry's sizes and offset by 64-bit ones.
func zip64(size, compressed, offset uint64) func([]byte) []byte {
	return func(line []byte) []byte {
		name := int(binary.LittleEndian.Uint16(line[28:]))
		extra := binary.LittleEndian.AppendUint16(nil, 1)
		extra = binary.LittleEndian.AppendUint16(extra, 24)
		for _, v := range []uint64{size, compressed, offset} {
			extra = binary.LittleEndian.AppendUint64(extra, v)
		}
		for _, at := range []int{20, 24, 42} {
			binary.LittleEndian.PutUint32(line[at:], math.MaxUint32)
		}
		binary.LittleEndian.PutUint16(line[30:], uint16(len(extra)))
		return append(line[:46+name], extra...)
	}
}

func TestHostileZipSizesAndOffsetsRejectTheFile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, edit := range map[string]func([]byte) []byte{
		"offset 2^63":             zip64(16, 16, 1<<63),
		"offset 2^64-1":           zip64(16, 16, math.MaxUint64),
		"offset beyond the end":   zip64(16, 16, 1<<40),
		"size 2^63":               zip64(1<<63, 16, 0),
		"size 2^64-1":             zip64(math.MaxUint64, math.MaxUint64, 0),
		"compressed size 2^63":    zip64(16, 1<<63, 0),
		"compressed size 2^62":    zip64(16, 1<<62, 0),
		"compressed size of none": zip64(16, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			operation := s.begun(s.operator(), patchedZip(t, edit))
			if err := s.work(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if got := s.rejections(s.operator(), operation)["all/e/videos/one.json"]; !strings.Contains(got, "damaged") {
				t.Errorf("the file is rejected with %q", got)
			}
		})
	}
}

// relisted is a .zip whose directory lists its entries in the given order.
func relisted(t *testing.T, files []packed, order []int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		one, err := w.CreateHeader(&zip.FileHeader{Name: f.path, Method: zip.Store})
		if err == nil {
			err = write(one, f.content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	start := bytes.Index(b.Bytes(), []byte("PK\x01\x02"))
	end := bytes.Index(b.Bytes(), []byte("PK\x05\x06"))
	size := (end - start) / len(files) // names have one length
	var directory []byte
	for _, i := range order {
		directory = append(directory, b.Bytes()[start+i*size:start+(i+1)*size]...)
	}
	tail := b.Bytes()[end:]
	binary.LittleEndian.PutUint16(tail[8:], uint16(len(order)))
	binary.LittleEndian.PutUint16(tail[10:], uint16(len(order)))
	binary.LittleEndian.PutUint32(tail[12:], uint32(len(directory)))
	return slices.Concat(b.Bytes()[:start], directory, tail)
}

func TestZipEntriesThatShareTheirContent(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var files []packed
	for i := range 24 {
		files = append(files, packed{fmt.Sprintf("all/e/videos/%02d.json", i), strings.ReplaceAll(noise(300<<10), "PK", "pk")})
	}
	var order []int
	for range 16 {
		for i := range files {
			order = append(order, i)
		}
	}
	for name, c := range map[string]struct {
		content []byte
		says    string
	}{
		"far apart":   {relisted(t, files, order), "another order"},
		"overlapping": {relisted(t, []packed{{"all/e/videos/00.json", strings.Repeat(" ", 300<<10)}}, make([]int, 60_000)), "more than 200 times"},
	} {
		t.Run(name, func(t *testing.T) {
			operation := s.begun(s.operator(), c.content)
			if err := s.work(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if reason, message := s.failed(operation); !strings.HasPrefix(reason, "ARCHIVE_") || !strings.Contains(message, c.says) {
				t.Errorf("%s: %s", reason, message)
			}
		})
	}
}
