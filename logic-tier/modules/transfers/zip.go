package transfers

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"strings"
)

// maxDirectorySize bounds the bytes read to find the entries of a .zip: enough for
// 200,000 entries with paths of 100 bytes. The directory is held in memory.
const maxDirectorySize = 32 << 20

// zipArchive is a .zip. It reads only the entries that are opened, so recordings in it
// cost nothing.
type zipArchive struct {
	src      *rangeReader
	files    []*zip.File
	position int   // index of the next file
	unpacked int64 // bytes read of all entries
}

func (m *Module) openZip(ctx context.Context, upload string, size int64) (archive, error) {
	z := &zipArchive{src: &rangeReader{ctx: ctx, module: m, file: upload, size: size, budget: maxDirectorySize}}
	r, err := zip.NewReader(z.src, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, z.directoryError(err)
	}
	z.src.budget = -1
	if z.files = r.File; len(z.files) > maxFiles {
		return nil, errTooManyFiles
	}
	return z, nil
}

const encryptedFlag = 0x1

func (z *zipArchive) next() (archiveFile, error) {
	if z.position == len(z.files) {
		return archiveFile{}, io.EOF
	}
	file := z.files[z.position]
	z.position++
	entry := archiveFile{path: file.Name, regular: file.Mode().IsRegular() && !strings.HasSuffix(file.Name, "/"), open: func() (io.ReadCloser, error) {
		content, err := file.Open()
		if err != nil {
			return nil, err
		}
		return &zipEntryReader{content, z}, nil
	}}
	if file.Flags&encryptedFlag != 0 {
		entry.unreadable = "encrypted; pack it without a password"
	}
	return entry, nil
}

// zipEntryReader counts the unpacked bytes of all entries together, because entries can
// share their compressed data.
type zipEntryReader struct {
	io.ReadCloser
	archive *zipArchive
}

func (r *zipEntryReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.archive.unpacked += int64(n); isBomb(r.archive.unpacked, r.archive.src.size) {
		r.archive.src.failure = errTooLarge
		return 0, errTooLarge
	}
	return n, err
}

// directoryError returns why the directory cannot be read.
func (z *zipArchive) directoryError(err error) error {
	if z.src.failure != nil {
		return z.src.failure
	}
	return errDamaged.Because(err)
}

// fatalError ignores damaged files, because entries are independent of each other.
func (z *zipArchive) fatalError(error) error { return z.src.failure }

func (z *zipArchive) progress() (done, total int64, unit string) {
	return int64(z.position), int64(len(z.files)), "files"
}

func (z *zipArchive) close() {}
