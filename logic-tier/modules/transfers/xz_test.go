package transfers_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"
)

// emptyBlocksXZ returns a valid .xz of empty blocks, each of which claims the largest
// permitted dictionary.
func emptyBlocksXZ(blocks int) []byte {
	withCRC := func(b []byte) []byte { return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b)) }
	flags := []byte{0, 0} // no checksums
	b := append([]byte("\xfd7zXZ\x00"), withCRC(slices.Clone(flags))...)
	block := append(withCRC([]byte{2, 0, 0x21, 1, 28, 0, 0, 0}), 0, 0, 0, 0) // one LZMA2 filter, 64 MiB; end marker, padding
	b = append(b, bytes.Repeat(block, blocks)...)
	index := binary.AppendUvarint([]byte{0}, uint64(blocks))
	index = append(index, bytes.Repeat([]byte{13, 0}, blocks)...) // unpadded size, uncompressed size
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = withCRC(index)
	b = append(b, index...)
	footer := append(binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1)), flags...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(footer))
	return append(append(b, footer...), "YZ"...)
}

// One dictionary for each of the 100 blocks would take 6,400 MiB.
func TestXZBlocksShareOneDictionary(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	operation := e.startImport(e.operatorContext(), append(emptyBlocksXZ(100), packXZ(t, catalogue(5, 1))...))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := e.deliver(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := e.counts(operation); got.TalksCreated != 5 {
		t.Errorf("got %v, want 5 talks", got)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 512<<20 {
		t.Errorf("got %d MiB allocated for 100 empty blocks, want at most 512", allocated>>20)
	}
}

func TestImportReadsXZVariants(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	content := packTar(t, catalogue(20, 1))
	compress := func(config xz.WriterConfig) []byte {
		var b bytes.Buffer
		w, err := config.NewWriter(&b)
		if err == nil {
			err = errors.Join(write(w, string(content)), w.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	empty := emptyBlocksXZ(0)
	for name, packed := range map[string][]byte{
		"CRC-64":          compress(xz.WriterConfig{}),
		"CRC-32":          compress(xz.WriterConfig{CheckSum: xz.CRC32}),
		"SHA-256":         compress(xz.WriterConfig{CheckSum: xz.SHA256}),
		"no checksum":     compress(xz.WriterConfig{NoCheckSum: true}),
		"many blocks":     compress(xz.WriterConfig{BlockSize: 1001}),
		"several streams": slices.Concat(empty, []byte{0, 0, 0, 0}, compress(xz.WriterConfig{}), empty),
	} {
		e.deleteTalks()
		if got := e.runImport(e.operatorContext(), packed); got.TalksCreated != 18 {
			t.Errorf("%s: got %v, want 18 talks", name, got)
		}
		operation := e.startImport(e.operatorContext(), packed[:len(packed)-1])
		if err := e.deliver(t.Context(), operation); err != nil {
			t.Fatal(err)
		}
		if reason, _ := e.failure(operation); reason != "ARCHIVE_UNREADABLE" {
			t.Errorf("%s, truncated: got %s, want ARCHIVE_UNREADABLE", name, reason)
		}
	}
}

func TestImportRejectsXZDictionaryOfFourGigabytes(t *testing.T) {
	t.Parallel()
	packed := emptyBlocksXZ(1)
	header := packed[12:24]
	header[4] = 40
	binary.LittleEndian.PutUint32(header[8:], crc32.ChecksumIEEE(header[:8]))
	e := newEnvironment(t)
	operation := e.startImport(e.operatorContext(), packed)
	if err := e.deliver(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	if _, message := e.failure(operation); !strings.Contains(message, "more than 64 MiB of memory") {
		t.Errorf("got %q, want the memory limit", message)
	}
}
