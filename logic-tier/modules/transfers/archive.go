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

// Limits on an archive. The largest public catalogue is smaller.
const (
	maxFiles    = 200_000
	maxFileSize = 1 << 20 // of a talk's or channel's file
	maxUnpacked = 4 << 30
	// maxRatio bounds the ratio of unpacked to packed size: JSON compresses about
	// ten to one, so a higher ratio means a decompression bomb. It applies above
	// ratioThreshold unpacked bytes, because small files of blanks exceed it too.
	maxRatio       = 200
	ratioThreshold = 64 << 20
	// Compressors expand their input by a few per cent at most. An archive that
	// unpacks to less than 1/minYield of its size consists of empty blocks, which
	// cost time but never reach the limits above. The first yieldThreshold bytes are
	// exempt, because they include headers and read-ahead.
	minYield       = 2
	yieldThreshold = 1 << 20
	// maxDictionary bounds the memory that a .xz can request. Its header can request
	// 4 GiB; "xz -9" needs 64 MiB.
	maxDictionary = 64 << 20
)

var xzMagic = []byte{0xfd, '7', 'z', 'X', 'Z', 0}

var (
	errUnknownFormat = apperror.New(apperror.Invalid, "ARCHIVE_UNREADABLE",
		"unsupported archive format; pack the folder as a .tar, .tar.gz, .tar.xz or .zip")
	errDamaged = apperror.New(apperror.Invalid, "ARCHIVE_UNREADABLE",
		"the archive is damaged; pack it again and upload the new one")
	errDictionaryTooLarge = apperror.New(apperror.Invalid, "ARCHIVE_UNREADABLE",
		"unpacking the .xz needs more than 64 MiB of memory; compress it with xz -9 or lower")
	errTooLarge = apperror.New(apperror.Invalid, "ARCHIVE_TOO_LARGE",
		"the archive unpacks to more than 4 GiB or to more than 200 times its size; remove files that are not part of the catalogue, or split it")
	errEmptyBlocks = apperror.New(apperror.Invalid, "ARCHIVE_UNREADABLE",
		"the archive unpacks to less than half its size, so most of it is empty blocks; pack it again")
	errTooManyFiles = apperror.New(apperror.Invalid, "ARCHIVE_TOO_LARGE",
		"the archive has more than 200,000 files; split it")
)

// archiveFile is an entry of an archive to import.
type archiveFile struct {
	path    string
	regular bool // not a directory, link or device
	// unreadable is why this entry cannot be read, if only this one cannot.
	unreadable string
	// open opens the content. It is valid until the next call of archive.next.
	open func() (io.ReadCloser, error)
}

// archive iterates over the entries of an archive, always in the same order.
type archive interface {
	// next returns the next entry, or io.EOF after the last one.
	next() (archiveFile, error)
	progress() (done, total int64, unit string)
	// fatalError returns the error of the whole archive that an error of reading a
	// file stands for. It returns nil if the other files can still be read.
	fatalError(error) error
	close()
}

// openArchive opens an uploaded archive. It detects the format by the first bytes.
func (m *Module) openArchive(ctx context.Context, upload string, size int64) (archive, error) {
	src, err := m.openFile(ctx, upload, 0, 0)
	if err != nil {
		return nil, err
	}
	content := &unpackReader{src: src}
	packed := bufio.NewReaderSize(packedReader{content}, 1<<16)
	head, err := packed.Peek(len(xzMagic))
	if err != nil && src.failure != nil {
		src.close()
		return nil, src.failure
	}
	if bytes.HasPrefix(head, []byte("PK\x03\x04")) || bytes.HasPrefix(head, []byte("PK\x05\x06")) {
		src.close()
		return m.openZip(ctx, upload, size)
	}
	t := &tarArchive{src: src, size: size}
	switch {
	case bytes.HasPrefix(head, xzMagic):
		content.decompressor, err = xz.NewReader(packed, maxDictionary)
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		content.decompressor, err = gzip.NewReader(packed)
	default:
		content.decompressor, err = packed, nil
	}
	if err != nil {
		defer src.close()
		return nil, t.fatalError(err)
	}
	t.unpacked = bufio.NewReaderSize(content, 1<<16)
	t.tar = tar.NewReader(t.unpacked)
	return t, nil
}

// unpackReader reads the unpacked content of an archive. Read fails when the import's
// context ends and when the archive turns out to be a decompression bomb.
type unpackReader struct {
	src          *fileReader
	decompressor io.Reader // reads from packedReader
	size         int64     // unpacked bytes read so far
}

func (u *unpackReader) Read(p []byte) (int, error) {
	if err := u.src.checkContext(); err != nil {
		return 0, err
	}
	n, err := u.decompressor.Read(p)
	if u.size += int64(n); isBomb(u.size, u.src.bytesRead) {
		return 0, errTooLarge
	}
	return n, err
}

// packedReader is the decompressor's input. A decompressor skips empty blocks without
// returning to its caller, so they are detected here.
type packedReader struct{ *unpackReader }

func (r packedReader) Read(p []byte) (int, error) {
	if r.src.bytesRead > yieldThreshold && r.size < r.src.bytesRead/minYield {
		return 0, errEmptyBlocks
	}
	return r.src.Read(p)
}

func isBomb(unpacked, packed int64) bool {
	return unpacked > maxUnpacked || unpacked > ratioThreshold && unpacked/maxRatio > packed
}

// tarArchive is a .tar, compressed or not.
type tarArchive struct {
	src      *fileReader
	size     int64
	unpacked io.Reader
	tar      *tar.Reader
	entries  int
}

func (t *tarArchive) next() (archiveFile, error) {
	header, err := t.tar.Next()
	switch {
	case errors.Is(err, io.EOF):
		return archiveFile{}, t.end()
	case err != nil:
		return archiveFile{}, t.fatalError(err)
	}
	if t.entries++; t.entries > maxFiles {
		return archiveFile{}, errTooManyFiles
	}
	return archiveFile{path: header.Name, regular: header.Typeflag == tar.TypeReg, open: func() (io.ReadCloser, error) { return io.NopCloser(t.tar), nil }}, nil
}

// end reads to the end of the archive, where the decompressor verifies the checksum.
// Trailing data after a .gz is ignored.
func (t *tarArchive) end() error {
	if _, err := io.Copy(io.Discard, t.unpacked); err != nil && !errors.Is(err, gzip.ErrHeader) {
		return t.fatalError(err)
	}
	return io.EOF
}

// fatalError distinguishes errors of reading the upload from errors in the archive.
func (t *tarArchive) fatalError(err error) error {
	var failure *apperror.Failure
	switch {
	case err == nil:
		return nil
	case t.src.failure != nil:
		return t.src.failure
	case errors.As(err, &failure):
		return failure
	case errors.Is(err, xz.ErrMemlimit):
		return errDictionaryTooLarge
	case t.entries == 0:
		return errUnknownFormat.Because(err)
	}
	return errDamaged.Because(err)
}

func (t *tarArchive) progress() (done, total int64, unit string) {
	return t.src.bytesRead, t.size, "bytes"
}
func (t *tarArchive) close() { t.src.close() }

// printable returns s as valid UTF-8 without NUL, truncated to maxBytes. The result is
// a copy, because a name in an archive can be 1 MB long and a substring would keep all
// of it in memory.
func printable(s string, maxBytes int) string {
	s = strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\ufffd"), "\ufffd")
	return strings.Clone(strings.ToValidUTF8(s[:min(len(s), maxBytes)], ""))
}
