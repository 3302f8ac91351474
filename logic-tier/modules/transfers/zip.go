package transfers

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"strings"
)

// maxDirectory bounds what is read of a .zip to find its entries: as much as
// 200,000 of them take with paths of a hundred letters. The directory is held.
const maxDirectory = 32 << 20

// zipped is a .zip. Only what is asked for of it is read: recordings in it cost
// nothing.
type zipped struct {
	from     *ranges
	files    []*zip.File
	at       int
	unpacked int64
}

func (m *Module) openZip(ctx context.Context, upload string, size int64) (archive, error) {
	z := &zipped{from: &ranges{ctx: ctx, module: m, file: upload, size: size, budget: maxDirectory}}
	r, err := zip.NewReader(z.from, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return nil, z.unreadable(err)
	}
	z.from.budget = -1
	if z.files = r.File; len(z.files) > maxFiles {
		return nil, errManyFiles
	}
	return z, nil
}

const encrypted = 0x1 // of a file's flags

func (z *zipped) next() (packedFile, error) {
	if z.at == len(z.files) {
		return packedFile{}, io.EOF
	}
	file := z.files[z.at]
	z.at++
	p := packedFile{path: file.Name, regular: file.Mode().IsRegular() && !strings.HasSuffix(file.Name, "/"), content: func() (io.ReadCloser, error) {
		content, err := file.Open()
		if err != nil {
			return nil, err
		}
		return &zippedFile{content, z}, nil
	}}
	if file.Flags&encrypted != 0 {
		p.refused = "it is encrypted: pack it without a password"
	}
	return p, nil
}

// zippedFile counts what comes out of all the files together: they may share
// what they are unpacked from.
type zippedFile struct {
	io.ReadCloser
	zipped *zipped
}

func (f *zippedFile) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.zipped.unpacked += int64(n); isBomb(f.zipped.unpacked, f.zipped.from.size) {
		f.zipped.from.failed = errTooLarge
		return 0, errTooLarge
	}
	return n, err
}

// unreadable says why a .zip cannot be read at all.
func (z *zipped) unreadable(err error) error {
	if z.from.failed != nil {
		return z.from.failed
	}
	return errDamaged.Because(err)
}

// blame passes over a file that is damaged: the others lie elsewhere.
func (z *zipped) blame(error) error { return z.from.failed }

func (z *zipped) progress() (done, total int64, unit string) {
	return int64(z.at), int64(len(z.files)), "files"
}

func (z *zipped) close() {}
