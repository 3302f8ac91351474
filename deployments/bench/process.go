package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks is USER_HZ, the unit of times in /proc (proc_pid_stat(5)).
const ticks = 100

// processes returns those that run a program; of Postgres all that run on a
// data directory.
func processes(program string) (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == program {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func postgresOn(directory string) (pids []int) {
	links, _ := filepath.Glob("/proc/[0-9]*/cwd")
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == directory {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// cpu returns the time that processes have worked.
func cpu(pids []int) (total time.Duration) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it ended
		}
		// The name, in parentheses, may hold anything.
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		for _, at := range []int{11, 12} { // utime, stime
			n, _ := strconv.ParseInt(fields[at], 10, 64)
			total += time.Duration(n) * time.Second / ticks
		}
	}
	return total
}

// memory returns a value of /proc/<pid>/status or smaps_rollup in bytes, of all
// processes together.
func memory(pids []int, file, name string) (total float64) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if value, is := strings.CutPrefix(line, name+":"); is {
				kilobytes, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
				total += kilobytes * 1024
			}
		}
	}
	return total
}

// resident is the memory that a process keeps now; highest is the most it ever
// kept; share counts what several share once (for Postgres).
func resident(pids []int) float64 { return memory(pids, "status", "VmRSS") }
func highest(pids []int) float64  { return memory(pids, "status", "VmHWM") }
func share(pids []int) float64    { return memory(pids, "smaps_rollup", "Pss") }

func megabytes(bytes float64) string { return fmt.Sprintf("%.0f MB", bytes/1e6) }

// build builds the program of a folder.
func build(ctx context.Context, folder, program string) error {
	command := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-buildvcs=false", "-o", program, ".")
	command.Dir = folder
	command.Env = append(os.Environ(), "GOWORK=off")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", folder, err, output)
	}
	return nil
}
