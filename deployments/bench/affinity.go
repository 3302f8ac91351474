package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// separateCores pins this process, the load generator, to one core and the site's processes to
// the others, so that they do not compete. It returns a function that restores the original
// affinity. New processes inherit the affinity of their parent.
func separateCores(site []int) (restore func() error, err error) {
	var original unix.CPUSet
	if err := unix.SchedGetaffinity(0, &original); err != nil {
		return nil, err
	}
	if original.Count() < 2 {
		return nil, fmt.Errorf("needs two cores, this machine has %d", original.Count())
	}
	var load, rest unix.CPUSet
	for core := range 1024 {
		if !original.IsSet(core) {
			continue
		}
		if load.Count() == 0 {
			load.Set(core)
		} else {
			rest.Set(core)
		}
	}
	setAffinity := func(pids []int, cores *unix.CPUSet) error {
		for _, pid := range pids {
			threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
			if err != nil {
				return err
			}
			for _, thread := range threads {
				id, err := strconv.Atoi(filepath.Base(thread))
				if err != nil {
					return err
				}
				// ESRCH: the thread has exited.
				if err := unix.SchedSetaffinity(id, cores); err != nil && err != unix.ESRCH {
					return err
				}
			}
		}
		return nil
	}
	self := []int{os.Getpid()}
	restore = func() error {
		if err := setAffinity(site, &original); err != nil {
			return err
		}
		return setAffinity(self, &original)
	}
	if err := setAffinity(site, &rest); err != nil {
		return restore, err
	}
	return restore, setAffinity(self, &load)
}
