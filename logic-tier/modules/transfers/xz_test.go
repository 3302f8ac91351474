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

// emptyBlocksXZ is a valid .xz of empty blocks, each of which claims the largest
// dictionary that is allowed.
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

// A dictionary for each of the 100 blocks would be 6,400 MiB.
func TestXZBlocksShareOneDictionary(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	operation := s.begun(s.operator(), append(emptyBlocksXZ(100), packXZ(t, catalogue(5, 1))...))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := s.work(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := s.counts(operation); got.TalksCreated != 5 {
		t.Errorf("got %v", got)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 512<<20 {
		t.Errorf("%d MiB are allocated for 100 empty blocks", allocated>>20)
	}
}

func TestXZVariantsAreRead(t *testing.T) {
	t.Parallel()
	s := newSite(t)
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
		s.forgetTalks()
		if got := s.imported(s.operator(), packed); got.TalksCreated != 18 {
			t.Errorf("%s: got %v", name, got)
		}
		operation := s.begun(s.operator(), packed[:len(packed)-1])
		if err := s.work(t.Context(), operation); err != nil {
			t.Fatal(err)
		}
		if reason, _ := s.failed(operation); reason != "ARCHIVE_UNREADABLE" {
			t.Errorf("%s, without its last byte: %s", name, reason)
		}
	}
}

func TestXZDictionaryOfFourGigabytesIsRefused(t *testing.T) {
	t.Parallel()
	packed := emptyBlocksXZ(1)
	header := packed[12:24]
	header[4] = 40
	binary.LittleEndian.PutUint32(header[8:], crc32.ChecksumIEEE(header[:8]))
	s := newSite(t)
	operation := s.begun(s.operator(), packed)
	if err := s.work(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	if _, message := s.failed(operation); !strings.Contains(message, "more than 64 MiB of memory") {
		t.Errorf("it fails with %q", message)
	}
}
