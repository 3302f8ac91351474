package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// replica is an additional process of a tier.
type replica struct {
	*child
	address string
	group   string // folder of its control group; empty without a CPU limit
}

// startReplica starts a tier's program, limited to a share of a core; 0 means no limit.
func (b *bench) startReplica(ctx context.Context, s *site, tier string, share float64, settings ...string) (*replica, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddress()
	if err != nil {
		return nil, err
	}
	r := &replica{address: address}
	arguments := append([]string{"serve", "--listen-address", address, "--admin-address", admin, "--certificates", s.certificates()}, settings...)
	if r.child, err = b.background(s.program(tier), arguments...); err != nil {
		return nil, err
	}
	if share > 0 {
		pid := r.command.Process.Pid
		if r.group, err = limitCPU(fmt.Sprintf("techtalks-bench-%d", pid), pid, share); err != nil {
			return nil, errors.Join(err, r.stop())
		}
	}
	if err := awaitListener(ctx, address); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

func (r *replica) stop() error {
	r.child.stop()
	if r.group == "" {
		return nil
	}
	return os.Remove(r.group)
}

// cpuPeriod is the interval at which the CPU quota is refilled, shorter than a page takes, so that
// throttling does not dominate latency.
const cpuPeriod = 5 * time.Millisecond

// limitCPU moves a process to its own control group, limited to a share of a core (Linux,
// Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst), and returns the group's folder.
func limitCPU(name string, pid int, share float64) (folder string, err error) {
	period := strconv.FormatInt(cpuPeriod.Microseconds(), 10)
	quota := strconv.Itoa(int(share * float64(cpuPeriod.Microseconds())))
	root, files := "/sys/fs/cgroup/cpu", [][2]string{{"cpu.cfs_period_us", period}, {"cpu.cfs_quota_us", quota}}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		root, files = "/sys/fs/cgroup", [][2]string{{"cpu.max", quota + " " + period}}
	}
	folder = filepath.Join(root, name)
	if err := os.Mkdir(folder, 0o755); err != nil {
		return "", err
	}
	for _, file := range append(files, [2]string{"cgroup.procs", strconv.Itoa(pid)}) {
		if err := os.WriteFile(filepath.Join(folder, file[0]), []byte(file[1]), 0o644); err != nil {
			return folder, err
		}
	}
	return folder, nil
}

// canLimitCPU returns an error if the CPU time of processes cannot be limited on this machine.
func canLimitCPU() error {
	command := exec.Command("sleep", "60")
	if err := command.Start(); err != nil {
		return err
	}
	folder, err := limitCPU("techtalks-bench-try", command.Process.Pid, replicaShare)
	_ = command.Process.Kill()
	_ = command.Wait()
	if folder != "" {
		err = errors.Join(err, os.Remove(folder))
	}
	if err != nil {
		return fmt.Errorf("cannot create a control group (needs root and the cpu controller): %w", err)
	}
	return nil
}
