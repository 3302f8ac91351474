package main

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// storedLimit returns the storage limit for uploads and recordings, in GiB: STORED_LIMIT, or
// the size of the database plus half of the free space on its disk. It returns an empty
// string if the free space is unknown.
func (s site) storedLimit() string {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(s.runDir, &disk); err != nil {
		return os.Getenv("STORED_LIMIT")
	}
	limit := int64(disk.Bavail) * disk.Bsize / 2
	_ = filepath.WalkDir(filepath.Join(s.runDir, "data"), func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			if info, err := entry.Info(); err == nil {
				limit += info.Size()
			}
		}
		return nil
	})
	return cmp.Or(os.Getenv("STORED_LIMIT"), strconv.FormatInt(max(1, limit>>30), 10))
}
