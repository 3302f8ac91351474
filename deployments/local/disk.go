package main

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// storedLimit is how many GiB uploads and recordings may take: what the database
// has, and half of what is free on its disk. Empty when that is not known.
func (s site) storedLimit() string {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(s.run, &disk); err != nil {
		return os.Getenv("STORED_LIMIT")
	}
	room := int64(disk.Bavail) * disk.Bsize / 2
	_ = filepath.WalkDir(filepath.Join(s.run, "data"), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				room += info.Size()
			}
		}
		return nil
	})
	return cmp.Or(os.Getenv("STORED_LIMIT"), strconv.FormatInt(max(1, room>>30), 10))
}
