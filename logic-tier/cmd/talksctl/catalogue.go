package main

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/ulikunitz/xz"
)

// maxFile is the largest file that the contract takes; larger ones are told of
// and passed over.
const maxFile = 1 << 20

// file is a file of a catalogue. A file that cannot be sent has a reason.
type file struct {
	path    string
	content []byte
	reason  string
}

// source reads a catalogue's files one after the other. read and total are in
// the source's own unit: bytes of an archive, files of a folder.
type source struct {
	total int64
	read  atomic.Int64
	each  func(ctx context.Context, use func(file) error) error
}

// openCatalogue opens a folder or a tar.xz archive.
func openCatalogue(name string) (*source, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no %s: name a folder or a .tar.xz archive", name)
	case err != nil:
		return nil, err
	case info.IsDir():
		return openFolder(name)
	case strings.HasSuffix(name, ".tar.xz"):
		return openArchive(name, info.Size())
	}
	return nil, fmt.Errorf("%s is neither a folder nor a .tar.xz archive", name)
}

func openFolder(root string) (*source, error) {
	s := &source{}
	walk := func(use func(path string) error) error {
		return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			return use(path)
		})
	}
	if err := walk(func(string) error { s.total++; return nil }); err != nil {
		return nil, err
	}
	s.each = func(ctx context.Context, use func(file) error) error {
		return walk(func(path string) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			inside, err := filepath.Rel(filepath.Dir(filepath.Clean(root)), path)
			if err != nil {
				return err
			}
			s.read.Add(1)
			f, err := os.Open(path)
			if err != nil {
				return use(unreadable(inside, err))
			}
			defer f.Close()
			one, err := readFile(filepath.ToSlash(inside), f)
			if err != nil {
				return use(unreadable(inside, err))
			}
			return use(one)
		})
	}
	return s, nil
}

func openArchive(name string, size int64) (*source, error) {
	s := &source{total: size}
	s.each = func(ctx context.Context, use func(file) error) error {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		inner, err := xz.NewReader(bufio.NewReaderSize(counting{f, &s.read}, 1<<16))
		if err != nil {
			return fmt.Errorf("%s is no xz archive: %w", name, err)
		}
		archive := tar.NewReader(bufio.NewReaderSize(inner, 1<<16))
		for {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			header, err := archive.Next()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s is damaged: %w", name, err)
			}
			if header.Typeflag != tar.TypeReg {
				continue
			}
			one, err := readFile(header.Name, archive)
			if err != nil {
				return fmt.Errorf("%s is damaged: %w", name, err)
			}
			if err := use(one); err != nil {
				return err
			}
		}
	}
	return s, nil
}

// unreadable is a file that is there and cannot be read; the others can.
func unreadable(path string, err error) file {
	return file{path: strings.ToValidUTF8(filepath.ToSlash(path), "\ufffd"), reason: err.Error()}
}

func readFile(path string, from io.Reader) (file, error) {
	path = strings.ToValidUTF8(path, "\ufffd")
	content, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	switch {
	case err != nil:
		return file{}, err
	case len(content) > maxFile:
		return file{path: path, reason: "larger than 1 MiB"}, nil
	case len(path) > 1000:
		return file{path: path[:1000], reason: "its path is longer than 1,000 bytes"}, nil
	}
	return file{path: path, content: content}, nil
}

type counting struct {
	io.Reader
	count *atomic.Int64
}

func (c counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.count.Add(int64(n))
	return n, err
}
