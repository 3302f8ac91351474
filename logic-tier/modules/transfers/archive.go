package transfers

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/mikelolasagasti/xz"

	"techtalks.example/logic-tier/platform/apperror"
)

// What an archive may ask of us. A catalogue of all that was ever said is smaller.
const (
	maxFiles    = 200_000
	maxFile     = 1 << 20 // a talk's file
	maxUnpacked = 4 << 30
	// An archive that unpacks to more than so many times its size is made to fill
	// a disk: JSON packs to a tenth. Small ones may: a page of blanks does.
	maxRatio    = 200
	ratioCounts = 64 << 20
	// Compressors never expand their input by more than a few per cent. An archive
	// that unpacks to less than a half of its size consists of empty blocks, which
	// take time and never reach the bounds above. The first MiB is exempt: headers
	// and read-ahead are in it.
	minYield    = 2
	yieldCounts = 1 << 20
	// maxDictionary bounds the memory that a .xz can ask for: its header may say
	// 4 GiB. "xz -9" asks for 64 MiB.
	maxDictionary = 64 << 20
)

var xzMagic = []byte{0xfd, '7', 'z', 'X', 'Z', 0}

var (
	errNoArchive = apperror.New(apperror.Invalid, "ARCHIVE_UNREADABLE",
		"this is no archive of a kind that can be read: pack the folder as a .tar, .tar.gz, .tar.xz or .zip, and upload that")
	errDamaged = apperror.New(apperror.Invalid, "ARCHIVE_UNREADABLE",
		"the archive is damaged: pack it anew, and upload that")
	errDictionary = apperror.New(apperror.Invalid, "ARCHIVE_UNREADABLE",
		"the .xz needs more than 64 MiB of memory to be unpacked: pack it with xz -9 or less")
	errTooLarge = apperror.New(apperror.Invalid, "ARCHIVE_TOO_LARGE",
		"the archive unpacks to more than 4 GiB, or to more than 200 times its size: leave out what is no part of the catalogue, or split it")
	errNoYield = apperror.New(apperror.Invalid, "ARCHIVE_UNREADABLE",
		"the archive unpacks to less than a half of its size, so most of it is empty blocks: pack it again")
	errManyFiles = apperror.New(apperror.Invalid, "ARCHIVE_TOO_LARGE",
		"the archive has more than 200,000 files: split it")
)

// packedFile is an entry of an archive.
type packedFile struct {
	path    string
	regular bool // a file, and no folder or link
	// refused is why it cannot be read, though the archive can.
	refused string
	// content reads it; only until the next entry is asked for.
	content func() (io.ReadCloser, error)
}

// archive gives its entries one after the other, always in the same order.
type archive interface {
	// next returns the next entry; io.EOF after the last.
	next() (packedFile, error)
	// progress says how much of it is done, of how much, in which unit.
	progress() (done, total int64, unit string)
	// blame returns what an error of reading a file means for the whole archive;
	// nil when the others can be read all the same.
	blame(error) error
	close()
}

// open opens an upload that is an archive; its first bytes say of which kind.
func (m *Module) open(ctx context.Context, upload string, size int64) (archive, error) {
	from, err := m.read(ctx, upload, 0, 0)
	if err != nil {
		return nil, err
	}
	content := &unpacked{from: from}
	packed := bufio.NewReaderSize(packedSide{content}, 1<<16)
	head, err := packed.Peek(len(xzMagic))
	if err != nil && from.failed != nil {
		from.close()
		return nil, from.failed
	}
	if bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")) {
		from.close()
		return m.openZip(ctx, upload, size)
	}
	t := &tarball{from: from, size: size}
	switch {
	case bytes.HasPrefix(head, xzMagic):
		content.decompressor, err = xz.NewReader(packed, maxDictionary)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		content.decompressor, err = gzip.NewReader(packed)
	default:
		content.decompressor, err = packed, nil
	}
	if err != nil {
		defer from.close()
		return nil, t.blame(err)
	}
	t.unpacked = bufio.NewReaderSize(content, 1<<16)
	t.tar = tar.NewReader(t.unpacked)
	return t, nil
}

// unpacked is the content of an archive. Reading it fails when the import's
// context ends, and when the content is out of proportion to the upload.
type unpacked struct {
	from         *reading
	decompressor io.Reader // reads from packedSide
	size         int64     // bytes read so far
}

func (u *unpacked) Read(p []byte) (int, error) {
	if err := u.from.interrupted(); err != nil {
		return 0, err
	}
	n, err := u.decompressor.Read(p)
	if u.size += int64(n); isBomb(u.size, u.from.read) {
		return 0, errTooLarge
	}
	return n, err
}

// packedSide is what a decompressor reads. A decompressor consumes empty blocks
// without returning to its caller, so this is where they are noticed.
type packedSide struct{ *unpacked }

func (s packedSide) Read(p []byte) (int, error) {
	if s.from.read > yieldCounts && s.size < s.from.read/minYield {
		return 0, errNoYield
	}
	return s.from.Read(p)
}

func isBomb(unpacked, packed int64) bool {
	return unpacked > maxUnpacked || unpacked > ratioCounts && unpacked/maxRatio > packed
}

// tarball is a .tar, packed or not.
type tarball struct {
	from     *reading
	size     int64
	unpacked io.Reader
	tar      *tar.Reader
	entries  int
}

func (t *tarball) next() (packedFile, error) {
	header, err := t.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return packedFile{}, t.end()
	case err != nil:
		return packedFile{}, t.blame(err)
	}
	if t.entries++; t.entries > maxFiles {
		return packedFile{}, errManyFiles
	}
	return packedFile{path: header.Name, regular: header.Typeflag == tar.TypeReg, content: func() (io.ReadCloser, error) { return io.NopCloser(t.tar), nil }}, nil
}

// end reads what lies behind the last entry: checksums are compared there. That
// something else follows a .gz is no damage.
func (t *tarball) end() error {
	if _, err := io.Copy(io.Discard, t.unpacked); err != nil && !errors.Is(err, gzip.ErrHeader) {
		return t.blame(err)
	}
	return io.EOF
}

// blame says whose fault an error is: the archive's, or who reads it.
func (t *tarball) blame(err error) error {
	var ours *apperror.Failure
	switch {
	case err == nil:
		return nil
	case t.from.failed != nil:
		return t.from.failed
	case errors.As(err, &ours):
		return ours
	case errors.Is(err, xz.ErrMemlimit):
		return errDictionary
	case t.entries == 0:
		return errNoArchive.Because(err)
	}
	return errDamaged.Because(err)
}

func (t *tarball) progress() (done, total int64, unit string) { return t.from.read, t.size, "bytes" }
func (t *tarball) close()                                     { t.from.close() }

// printable returns text that can be stored and shown, of any bytes. The text is
// a copy: a name in an archive can have a megabyte, which a part of it would keep
// in memory.
func printable(s string, most int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\ufffd"), "\ufffd")
	return strings.Clone(strings.ToValidUTF8(s[:min(len(s), most)], ""))
}
