package transfers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/ulikunitz/xz"
)

// packXZ packs with the library that people's own programs might use.
func packXZ(t testing.TB, config xz.WriterConfig, content []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w, err := config.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func unpackXZ(packed []byte) ([]byte, error) {
	r, err := newXZReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func letters(size int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, size)
	for i := range content {
		content[i] = byte('a' + random.IntN(6))
	}
	return content
}

func TestXZOfEverySortIsRead(t *testing.T) {
	content := letters(100_000)
	for name, config := range map[string]xz.WriterConfig{
		"CRC-64":      {},
		"CRC-32":      {CheckSum: xz.CRC32},
		"SHA-256":     {CheckSum: xz.SHA256},
		"no checksum": {NoCheckSum: true},
		"many blocks": {BlockSize: 10_001},
	} {
		packed := packXZ(t, config, content)
		if got, err := unpackXZ(packed); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		// Streams behind each other, with padding between them.
		twice := append(append(bytes.Clone(packed), 0, 0, 0, 0), packed...)
		if got, err := unpackXZ(twice); err != nil || len(got) != 2*len(content) {
			t.Errorf("%s, twice: %d bytes, %v", name, len(got), err)
		}
		for _, cut := range []int{1, 5, 11, 13, 20, 1000, len(packed) / 2, len(packed) - 30, len(packed) - 1} {
			if _, err := unpackXZ(packed[:cut]); err == nil {
				t.Errorf("%s, cut after %d bytes: no error", name, cut)
			}
		}
	}
	if got, err := unpackXZ(packXZ(t, xz.WriterConfig{}, nil)); err != nil || len(got) != 0 {
		t.Errorf("nothing: %q, %v", got, err)
	}
}

func TestAByteThatChangedIsSeen(t *testing.T) {
	packed := packXZ(t, xz.WriterConfig{}, letters(3000))
	for i := 0; i < len(packed); i += 3 {
		changed := bytes.Clone(packed)
		changed[i] ^= 0x10
		if got, err := unpackXZ(changed); err == nil && !bytes.Equal(got, letters(3000)) {
			t.Errorf("byte %d: no error, and another content", i)
		}
	}
}

// What a header asks for is not held before it is looked at.
func TestADictionaryOfFourGigabytesIsRefused(t *testing.T) {
	packed := packXZ(t, xz.WriterConfig{}, letters(3000))
	header := packed[12 : 12+(int(packed[12])+1)*4]
	i := bytes.Index(header, []byte{0x21, 1})
	header[i+2] = 40
	binary.LittleEndian.PutUint32(header[len(header)-4:], crc32.ChecksumIEEE(header[:len(header)-4]))
	if _, err := unpackXZ(packed); !errors.Is(err, errDictionary) {
		t.Errorf("got %v", err)
	}
}
