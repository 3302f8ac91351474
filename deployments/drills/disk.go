package drills

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// mountDisk mounts a separate disk for the data tier, which fillDisk can fill.
func (s *Site) mountDisk(_ context.Context, megabytes int) error {
	directory := filepath.Dir(s.dataDirectory("data"))
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=0755", megabytes)); err != nil {
		return fmt.Errorf("mount a disk for the data tier: %w", err)
	}
	s.disk = directory
	return nil
}

func (s *Site) unmountDisk() error {
	if s.disk == "" {
		return nil
	}
	return syscall.Unmount(s.disk, syscall.MNT_DETACH)
}

func (s *Site) filler() string { return filepath.Join(s.disk, "filler") }

// fillDisk fills the data tier's disk.
func (s *Site) fillDisk() error {
	file, err := os.Create(s.filler())
	if err != nil {
		return err
	}
	defer file.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err := file.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			return err
		}
	}
	return nil
}

// emptyDisk frees the space that fillDisk has used.
func (s *Site) emptyDisk() error { return os.Remove(s.filler()) }
