package media

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
)

// scratch is the folder in which recordings are made, each in a folder of its
// own. Whoever works in one holds a lock on it, which goes with the process:
// a folder that nobody holds is what a killed process left. Processes may share
// the scratch folder.
type scratch struct{ folder string }

// workFolder is one that is in use.
type workFolder struct {
	path string
	held *os.File
}

// alone calls do while no other process makes or removes work folders, so that
// none is taken for left over between its making and its locking.
func (s scratch) alone(do func() error) error {
	if err := os.MkdirAll(s.folder, 0o700); err != nil {
		return err
	}
	all, err := os.Open(s.folder)
	if err != nil {
		return err
	}
	defer all.Close()
	if err := lock(all, syscall.LOCK_EX); err != nil {
		return err
	}
	return do()
}

// open makes a private folder to work in.
func (s scratch) open() (w *workFolder, err error) {
	err = s.alone(func() error {
		path, err := os.MkdirTemp(s.folder, "recording-")
		if err != nil {
			return err
		}
		held, err := os.Open(path)
		if err == nil {
			err = lock(held, syscall.LOCK_EX|syscall.LOCK_NB)
		}
		if err != nil {
			return errors.Join(err, os.RemoveAll(path))
		}
		w = &workFolder{path, held}
		return nil
	})
	return w, err
}

// close removes the folder and all that is in it.
func (w *workFolder) close() error {
	return errors.Join(os.RemoveAll(w.path), w.held.Close())
}

func (w *workFolder) file(name string) string { return filepath.Join(w.path, name) }

// tidy removes the folders that nobody holds.
func (s scratch) tidy() error {
	return s.alone(func() error {
		left, err := filepath.Glob(filepath.Join(s.folder, "recording-*"))
		for _, path := range left {
			err = errors.Join(err, removeLeft(path))
		}
		return err
	})
}

func removeLeft(path string) error {
	held, err := os.Open(path)
	if err != nil {
		return err
	}
	defer held.Close()
	if lock(held, syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil // somebody works in it
	}
	return os.RemoveAll(path)
}

// lock waits for the lock unless how says not to. The calling thread may be
// interrupted by the runtime meanwhile.
func lock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
