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

	"techtalks.example/logic-tier/failure"
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
)

var (
	errNoArchive = failure.New(failure.Invalid, "ARCHIVE_UNREADABLE",
		"this is no archive of a kind that can be read: pack the folder as a .tar, .tar.gz, .tar.xz or .zip, and upload that")
	errDamaged = failure.New(failure.Invalid, "ARCHIVE_UNREADABLE",
		"the archive is damaged: pack it anew, and upload that")
	errDictionary = failure.New(failure.Invalid, "ARCHIVE_UNREADABLE",
		"the .xz needs more than 64 MiB of memory to be unpacked: pack it with xz -9 or less")
	errTooLarge = failure.New(failure.Invalid, "ARCHIVE_TOO_LARGE",
		"the archive unpacks to more than 4 GiB, or to more than 200 times its size: leave out what is no part of the catalogue, or split it")
	errManyFiles = failure.New(failure.Invalid, "ARCHIVE_TOO_LARGE",
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
	buffered := bufio.NewReaderSize(from, 1<<16)
	head, err := buffered.Peek(6)
	if err != nil && from.failed != nil {
		from.close()
		return nil, from.failed
	}
	if bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")) {
		from.close()
		return m.openZip(ctx, upload, size)
	}
	t := &tarball{from: from, size: size}
	unpacked := io.Reader(buffered)
	switch {
	case bytes.HasPrefix(head, xzMagic):
		unpacked, err = newXZReader(buffered)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		unpacked, err = gzip.NewReader(buffered)
	default:
		err = nil
	}
	if err != nil {
		defer from.close()
		return nil, t.blame(err)
	}
	t.unpacked = bufio.NewReaderSize(&bounded{Reader: unpacked, packed: func() int64 { return from.read }}, 1<<16)
	t.tar = tar.NewReader(t.unpacked)
	return t, nil
}

// bounded ends with errTooLarge when more comes out than goes in.
type bounded struct {
	io.Reader
	packed   func() int64
	unpacked int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if b.unpacked += int64(n); isBomb(b.unpacked, b.packed()) {
		return 0, errTooLarge
	}
	return n, err
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
	var ours *failure.Failure
	switch {
	case err == nil:
		return nil
	case t.from.failed != nil:
		return t.from.failed
	case errors.As(err, &ours):
		return ours
	case t.entries == 0:
		return errNoArchive.Because(err)
	}
	return errDamaged.Because(err)
}

func (t *tarball) progress() (done, total int64, unit string) { return t.from.read, t.size, "bytes" }
func (t *tarball) close()                                     { t.from.close() }

// printable returns text that can be stored and shown, of any bytes.
func printable(s string, most int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\ufffd"), "\ufffd")
	return strings.ToValidUTF8(s[:min(len(s), most)], "")
}
