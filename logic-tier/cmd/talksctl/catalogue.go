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

// endings are those of archives that the logic tier takes.
var endings = []string{".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".zip"}

// catalogue is what is to be sent: an archive as it is, or a folder packed on the
// way.
type catalogue struct {
	// name is what the upload is called.
	name string
	// size is an archive's; 0 for a folder's, which is known at its end.
	size int64
	// total is how much there is to read, in unit.
	total int64
	unit  string
	// open reads it from an offset, which is 0 for a folder. done says how much of
	// total is read.
	open func(offset int64, done func(int64)) (io.ReadCloser, error)
}

// openCatalogue looks at a folder or an archive. kept is told of the files of a
// folder that are not sent.
func openCatalogue(name string, kept func(path, reason string)) (*catalogue, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s: name a folder or an archive (%s)", name, strings.Join(endings, ", "))
	case err != nil:
		return nil, err
	case info.IsDir():
		return openFolder(name, kept)
	}
	for _, ending := range endings {
		if strings.HasSuffix(strings.ToLower(name), ending) {
			return openArchive(name, info.Size())
		}
	}
	return nil, fmt.Errorf("%s is neither a folder nor an archive (%s)", name, strings.Join(endings, ", "))
}

func openArchive(name string, size int64) (*catalogue, error) {
	if size == 0 {
		return nil, fmt.Errorf("%s is empty", name)
	}
	return &catalogue{name: filepath.Base(name), size: size, total: size, unit: "bytes", open: func(offset int64, done func(int64)) (io.ReadCloser, error) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			_ = f.Close()
			return nil, err
		}
		return &counting{f, offset, done}, nil
	}}, nil
}

// counting says how much was read.
type counting struct {
	io.ReadCloser
	read int64
	done func(int64)
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.read += int64(n)
	c.done(c.read)
	return n, err
}
