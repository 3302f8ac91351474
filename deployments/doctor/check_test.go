package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestRunParallelKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []check
		for i := range 5 {
			all = append(all, withDeadline(time.Minute, fmt.Sprint(i), func(context.Context) finding {
				time.Sleep(time.Duration(5-i) * time.Second)
				return finding{Verdict: verdictOK}
			}))
		}
		began := time.Now()
		var order []string
		for _, f := range runParallel(t.Context(), all...) {
			order = append(order, f.About)
		}
		if took := time.Since(began); took != 5*time.Second || !slices.Equal(order, []string{"0", "1", "2", "3", "4"}) {
			t.Errorf("got order %v after %s, want 0 to 4 after 5s", order, took)
		}
	})
}

func TestWithDeadlineGivesUpOnCheckThatIgnoresContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		began := time.Now()
		found := withDeadline(3*time.Second, "check", func(context.Context) finding { <-release; return finding{} })(t.Context())
		if took := time.Since(began); took != 3*time.Second+grace || allOK(found) || found[0].Fix == "" {
			t.Errorf("got %v after %s, want a failure after %s", found, took, 3*time.Second+grace)
		}
		close(release)
	})
}

func TestDoctorReportsFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	env := onData(t).with("ARCHIVE", disk)
	if output, code := runDoctor(t, env); code != 0 {
		t.Errorf("empty disk: got exit code %d:\n%s", code, output)
	}
	if err := os.WriteFile(filepath.Join(disk, "wal"), make([]byte, 1000<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	expectFailure(t, env, "disk of the WAL archive", "% free", "keep fewer backups")
}
