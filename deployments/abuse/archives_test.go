package abuse

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"math"
	"net/url"
	"slices"
	"testing"

	"techtalks.example/deployments/journey"
	"techtalks.example/deployments/local/localtest"
)

// An account imports archives that declare a 64 MiB dictionary for each of 50,000 empty blocks,
// and archives whose directory points outside the file.
func TestHostileArchivesLeaveImportsServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	others := newBystander(t, site)
	before := site.PIDs("logic-tier")
	mallory := journey.NewClient(t, site.URL)
	mallory.SignUp("mallory")
	startImport := func(c *journey.Client, content []byte) string {
		return c.Start("/studio/import", url.Values{"upload": {c.Upload(content, "catalogue", "application/octet-stream", 0, nil)}})
	}
	var hostile []string
	for range 5 {
		hostile = append(hostile, startImport(mallory, emptyBlocksXZ(50_000)), startImport(mallory, outsideZip(t)))
	}
	others.duringAttack("ten hostile archives", func(ctx context.Context) { <-ctx.Done() })
	grace := journey.NewClient(t, site.URL)
	grace.SignUp("grace")
	grace.WaitForSuccess(startImport(grace, oneTalkZip(t)), new(json.RawMessage))
	for _, operation := range hostile {
		mallory.WaitUntil(operation, "done", func(o journey.Operation) bool { return o.Done })
	}
	if after := site.PIDs("logic-tier"); !slices.Equal(before, after) {
		t.Errorf("the logic tier restarted: got processes %v, want %v", after, before)
	}
}

// emptyBlocksXZ returns a valid .xz file of empty blocks.
func emptyBlocksXZ(blocks int) []byte {
	withChecksum := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }
	flags := []byte{0, 0} // no checksums
	b := append([]byte("\xfd7zXZ\x00"), withChecksum(slices.Clone(flags))...)
	block := append(withChecksum([]byte{2, 0, 0x21, 1, 28, 0, 0, 0}), 0, 0, 0, 0) // one LZMA2 filter, 64 MiB; end marker, padding
	b = append(b, bytes.Repeat(block, blocks)...)
	index := binary.AppendUvarint([]byte{0}, uint64(blocks))
	index = append(index, bytes.Repeat([]byte{13, 0}, blocks)...) // unpadded size, uncompressed size
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = withChecksum(index)
	b = append(b, index...)
	footer := append(binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(footer))
	return append(append(b, footer...), "YZ"...)
}

// oneTalkZip returns a .zip file of one talk.
func oneTalkZip(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	talk, err := w.Create(journey.UniqueName("imported") + "/videos/one.json")
	if err == nil {
		_, err = talk.Write([]byte(`{"title": "One"}`))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// outsideZip returns a .zip file of one talk whose directory places the content at offset 2^63.
func outsideZip(t *testing.T) []byte {
	t.Helper()
	b := oneTalkZip(t)
	start, end := bytes.Index(b, []byte("PK\x01\x02")), bytes.Index(b, []byte("PK\x05\x06"))
	entry, tail := slices.Clone(b[start:end]), slices.Clone(b[end:])
	extra := binary.LittleEndian.AppendUint16(nil, 1) // zip64, with only the offset
	extra = binary.LittleEndian.AppendUint16(extra, 8)
	extra = binary.LittleEndian.AppendUint64(extra, 1<<63)
	binary.LittleEndian.PutUint32(entry[42:], math.MaxUint32)
	binary.LittleEndian.PutUint16(entry[30:], uint16(len(extra)))
	entry = append(entry, extra...)
	binary.LittleEndian.PutUint32(tail[12:], uint32(len(entry)))
	return slices.Concat(b[:start], entry, tail)
}
