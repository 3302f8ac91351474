package media

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// scratch is the directory that holds the work directories of running transcodes. A
// process locks each work directory it uses. The kernel releases the lock when the process
// dies, so an unlocked work directory is the leftover of a killed process. Several
// processes can share the scratch directory.
type scratch struct{ dir string }

// workDir is a locked work directory.
type workDir struct {
	path string
	lock *os.File
}

// withLock calls do while no other process creates or removes work directories. Without
// it, removeStale could remove a directory between its creation and its locking.
func (s scratch) withLock(do func() error) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := flock(dir, syscall.LOCK_EX); err != nil {
		return err
	}
	return do()
}

// create creates and locks a work directory.
func (s scratch) create() (w *workDir, err error) {
	err = s.withLock(func() error {
		path, err := os.MkdirTemp(s.dir, "recording-")
		if err != nil {
			return err
		}
		lock, err := os.Open(path)
		if err == nil {
			err = flock(lock, syscall.LOCK_EX|syscall.LOCK_NB)
		}
		if err != nil {
			return errors.Join(err, os.RemoveAll(path))
		}
		w = &workDir{path, lock}
		return nil
	})
	return w, err
}

// remove deletes the directory with its contents and releases the lock.
func (w *workDir) remove() error {
	return errors.Join(os.RemoveAll(w.path), w.lock.Close())
}

func (w *workDir) file(name string) string { return filepath.Join(w.path, name) }

// removeStale deletes the work directories of killed processes.
func (s scratch) removeStale() error {
	return s.withLock(func() error {
		paths, err := filepath.Glob(filepath.Join(s.dir, "recording-*"))
		for _, path := range paths {
			err = errors.Join(err, removeIfUnlocked(path))
		}
		return err
	})
}

func removeIfUnlocked(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if flock(dir, syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil // in use
	}
	return os.RemoveAll(path)
}

// flock locks a file, and retries when a signal interrupts the system call, as the runtime
// may do at any time. It blocks unless how includes LOCK_NB.
func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
