package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// archiveExtensions are the file name extensions of archives that the logic tier imports.
var archiveExtensions = []string{".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".zip"}

// catalogue is the source of an import: an archive, or a folder that is packed while it is
// sent.
type catalogue struct {
	// name is the file name of the upload.
	name string
	// size is the size of an archive. It is 0 for a folder, whose packed size is unknown.
	size int64
	// total is the amount to read, in unit.
	total int64
	unit  string
	// open returns a reader that starts at offset, which must be 0 for a folder. The reader
	// reports to progress how much of total has been read.
	open func(offset int64, progress func(int64)) (io.ReadCloser, error)
}

// openCatalogue opens a folder or an archive. It calls skipped for each file of a folder that
// will not be sent.
func openCatalogue(name string, skipped func(path, reason string)) (*catalogue, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s does not exist: use a folder or an archive (%s)", name, strings.Join(archiveExtensions, ", "))
	case err != nil:
		return nil, err
	case info.IsDir():
		return openFolder(name, skipped)
	}
	for _, extension := range archiveExtensions {
		if strings.HasSuffix(strings.ToLower(name), extension) {
			return openArchive(name, info.Size())
		}
	}
	return nil, fmt.Errorf("%s is neither a folder nor an archive (%s)", name, strings.Join(archiveExtensions, ", "))
}

func openArchive(name string, size int64) (*catalogue, error) {
	if size == 0 {
		return nil, fmt.Errorf("%s is empty", name)
	}
	return &catalogue{name: filepath.Base(name), size: size, total: size, unit: "bytes", open: func(offset int64, progress func(int64)) (io.ReadCloser, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			_ = f.Close()
			return nil, err
		}
		return &progressReader{f, offset, progress}, nil
	}}, nil
}

// progressReader reports how many bytes have been read.
type progressReader struct {
	io.ReadCloser
	read     int64
	progress func(int64)
}

func (r *progressReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.read += int64(n)
	r.progress(r.read)
	return n, err
}
