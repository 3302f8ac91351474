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

// An account imports archives that claim 64 MiB for each of 50,000 empty blocks, and
// archives whose directory points outside of them.
func TestHostileArchivesLeaveImportsServed(t *testing.T) {
	t.Parallel()
	site := localtest.Up(t, localtest.Folder(t))
	others := newBystander(t, site)
	before := site.PIDs("logic-tier")
	mallory := journey.NewClient(t, site.URL)
	mallory.SignUp("mallory")
	importing := func(c *journey.Client, content []byte) string {
		return c.Start("/studio/import", url.Values{"upload": {c.Upload(content, "catalogue", "application/octet-stream", 0, nil)}})
	}
	var hostile []string
	for range 5 {
		hostile = append(hostile, importing(mallory, emptyBlocksXZ(50_000)), importing(mallory, outsideZip(t)))
	}
	others.duringAttack("ten hostile archives", func(ctx context.Context) { <-ctx.Done() })
	grace := journey.NewClient(t, site.URL)
	grace.SignUp("grace")
	grace.WaitForSuccess(importing(grace, oneTalkZip(t)), new(json.RawMessage))
	for _, operation := range hostile {
		mallory.WaitUntil(operation, "done", func(o journey.Operation) bool { return o.Done })
	}
	if after := site.PIDs("logic-tier"); !slices.Equal(before, after) {
		t.Errorf("the logic tier was process %v, and is %v", before, after)
	}
}

// emptyBlocksXZ is a valid .xz of empty blocks.
func emptyBlocksXZ(blocks int) []byte {
	summed := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }
	flags := []byte{0, 0} // no checksums
	b := append([]byte("\xfd7zXZ\x00"), summed(slices.Clone(flags))...)
	block := append(summed([]byte{2, 0, 0x21, 1, 28, 0, 0, 0}), 0, 0, 0, 0) // one LZMA2 filter, 64 MiB; end marker, padding
	b = append(b, bytes.Repeat(block, blocks)...)
	index := binary.AppendUvarint([]byte{0}, uint64(blocks))
	index = append(index, bytes.Repeat([]byte{13, 0}, blocks)...) // unpadded size, uncompressed size
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = summed(index)
	b = append(b, index...)
	footer := append(binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(footer))
	return append(append(b, footer...), "YZ"...)
}

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

// outsideZip is a .zip of one talk whose content its directory places at 2^63.
func outsideZip(t *testing.T) []byte {
	t.Helper()
	b := oneTalkZip(t)
	start, end := bytes.Index(b, []byte("PK\x01\x02")), bytes.Index(b, []byte("PK\x05\x06"))
	line, tail := slices.Clone(b[start:end]), slices.Clone(b[end:])
	extra := binary.LittleEndian.AppendUint16(nil, 1) // zip64: the offset alone
	extra = binary.LittleEndian.AppendUint16(extra, 8)
	extra = binary.LittleEndian.AppendUint64(extra, 1<<63)
	binary.LittleEndian.PutUint32(line[42:], math.MaxUint32)
	binary.LittleEndian.PutUint16(line[30:], uint16(len(extra)))
	line = append(line, extra...)
	binary.LittleEndian.PutUint32(tail[12:], uint32(len(line)))
	return slices.Concat(b[:start], line, tail)
}
