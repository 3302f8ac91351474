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

// patchedZip returns a .zip of one talk with an edited directory entry.
func patchedZip(t *testing.T, edit func(header []byte) []byte) []byte {
	t.Helper()
	b := packZip(t, []packedFile{{"all/e/videos/one.json", `{"title": "One"}`}})
	start := bytes.Index(b, []byte("PK\x01\x02"))
	end := bytes.Index(b, []byte("PK\x05\x06"))
	header := edit(slices.Clone(b[start:end]))
	tail := slices.Clone(b[end:])
	binary.LittleEndian.PutUint32(tail[12:], uint32(len(header)))
	return slices.Concat(b[:start], header, tail)
}

// zip64 returns an edit that replaces an entry's sizes and offset by 64-bit values.
func zip64(size, compressed, offset uint64) func([]byte) []byte {
	return func(header []byte) []byte {
		name := int(binary.LittleEndian.Uint16(header[28:]))
		extra := binary.LittleEndian.AppendUint16(nil, 1)
		extra = binary.LittleEndian.AppendUint16(extra, 24)
		for _, v := range []uint64{size, compressed, offset} {
			extra = binary.LittleEndian.AppendUint64(extra, v)
		}
		for _, field := range []int{20, 24, 42} {
			binary.LittleEndian.PutUint32(header[field:], math.MaxUint32)
		}
		binary.LittleEndian.PutUint16(header[30:], uint16(len(extra)))
		return append(header[:46+name], extra...)
	}
}

func TestImportRejectsFilesWithHostileZipSizesAndOffsets(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	for name, edit := range map[string]func([]byte) []byte{
		"offset 2^63":           zip64(16, 16, 1<<63),
		"offset 2^64-1":         zip64(16, 16, math.MaxUint64),
		"offset beyond the end": zip64(16, 16, 1<<40),
		"size 2^63":             zip64(1<<63, 16, 0),
		"size 2^64-1":           zip64(math.MaxUint64, math.MaxUint64, 0),
		"compressed size 2^63":  zip64(16, 1<<63, 0),
		"compressed size 2^62":  zip64(16, 1<<62, 0),
		"compressed size 0":     zip64(16, 0, 0),
	} {
		t.Run(name, func(t *testing.T) {
			operation := e.startImport(e.operatorContext(), patchedZip(t, edit))
			if err := e.deliver(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if got := e.rejections(e.operatorContext(), operation)["all/e/videos/one.json"]; !strings.Contains(got, "damaged") {
				t.Errorf("got %q, want damaged", got)
			}
		})
	}
}

// relisted returns a .zip whose directory lists its entries in the given order.
func relisted(t *testing.T, files []packedFile, order []int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		entry, err := w.CreateHeader(&zip.FileHeader{Name: f.path, Method: zip.Store})
		if err == nil {
			err = write(entry, f.content)
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
	size := (end - start) / len(files) // all names have the same length
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

func TestImportRejectsScatteredOrOverlappingZipEntries(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	var files []packedFile
	for i := range 24 {
		files = append(files, packedFile{fmt.Sprintf("all/e/videos/%02d.json", i), strings.ReplaceAll(noise(300<<10), "PK", "pk")})
	}
	var order []int
	for range 16 {
		for i := range files {
			order = append(order, i)
		}
	}
	for name, c := range map[string]struct {
		content []byte
		message string
	}{
		"far apart":   {relisted(t, files, order), "out of order"},
		"overlapping": {relisted(t, []packedFile{{"all/e/videos/00.json", strings.Repeat(" ", 300<<10)}}, make([]int, 60_000)), "more than 200 times"},
	} {
		t.Run(name, func(t *testing.T) {
			operation := e.startImport(e.operatorContext(), c.content)
			if err := e.deliver(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if reason, message := e.failure(operation); !strings.HasPrefix(reason, "ARCHIVE_") || !strings.Contains(message, c.message) {
				t.Errorf("got %s: %q, want %q", reason, message, c.message)
			}
		})
	}
}
