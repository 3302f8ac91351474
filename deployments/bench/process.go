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

// userHZ is USER_HZ, the unit of times in /proc (proc_pid_stat(5)).
const userHZ = 100

// processes returns the IDs of the processes that run a program.
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

// postgresOn returns the IDs of the Postgres processes of a data directory.
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

// cpuTime returns the total CPU time of processes.
func cpuTime(pids []int) (total time.Duration) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // the process has exited
		}
		// The name, in parentheses, can contain spaces.
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		for _, field := range []int{11, 12} { // utime, stime
			n, _ := strconv.ParseInt(fields[field], 10, 64)
			total += time.Duration(n) * time.Second / userHZ
		}
	}
	return total
}

// memory returns a value of /proc/<pid>/status or smaps_rollup in bytes, summed over processes.
func memory(pids []int, file, name string) (total float64) {
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(line, name+":"); ok {
				kilobytes, _ := strconv.ParseFloat(strings.Fields(value)[0], 64)
				total += kilobytes * 1024
			}
		}
	}
	return total
}

// residentMemory is the current resident set, peakMemory the largest so far. proportionalMemory
// counts memory that processes share only once, as Postgres needs.
func residentMemory(pids []int) float64     { return memory(pids, "status", "VmRSS") }
func peakMemory(pids []int) float64         { return memory(pids, "status", "VmHWM") }
func proportionalMemory(pids []int) float64 { return memory(pids, "smaps_rollup", "Pss") }

func megabytes(bytes float64) string { return fmt.Sprintf("%.0f MB", bytes/1e6) }

// build builds the main package in a folder.
func build(ctx context.Context, folder, program string) error {
	command := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-buildvcs=false", "-o", program, ".")
	command.Dir = folder
	command.Env = append(os.Environ(), "GOWORK=off")
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", folder, err, output)
	}
	return nil
}
