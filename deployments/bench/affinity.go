package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// apart gives the load a core and the processes of a site the others, so that what
// the load takes is not missing from what is measured. It returns what undoes it. A
// process that starts later is where the one that started it is.
func apart(site []int) (undo func() error, err error) {
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, err
	}
	if before.Count() < 2 {
		return nil, fmt.Errorf("this needs two cores, and there is %d", before.Count())
	}
	var load, rest unix.CPUSet
	for core := range 1024 {
		if !before.IsSet(core) {
			continue
		}
		if load.Count() == 0 {
			load.Set(core)
		} else {
			rest.Set(core)
		}
	}
	place := func(pids []int, where *unix.CPUSet) error {
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
				// One that has ended meanwhile needs no place.
				if err := unix.SchedSetaffinity(id, where); err != nil && err != unix.ESRCH {
					return err
				}
			}
		}
		return nil
	}
	own := []int{os.Getpid()}
	undo = func() error {
		if err := place(site, &before); err != nil {
			return err
		}
		return place(own, &before)
	}
	if err := place(site, &rest); err != nil {
		return undo, err
	}
	return undo, place(own, &load)
}
