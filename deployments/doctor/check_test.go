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

// However long a check takes, its line stands where it belongs, and all take no longer
// than the longest.
func TestChecksRunSideBySideAndAreSaidInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []check
		for i := range 5 {
			all = append(all, within(time.Minute, fmt.Sprint(i), func(context.Context) finding {
				time.Sleep(time.Duration(5-i) * time.Second)
				return finding{Verdict: fine}
			}))
		}
		began := time.Now()
		var order []string
		for _, f := range sideBySide(t.Context(), all...) {
			order = append(order, f.About)
		}
		if took := time.Since(began); took != 5*time.Second || !slices.Equal(order, []string{"0", "1", "2", "3", "4"}) {
			t.Errorf("%v after %s", order, took)
		}
	})
}

func TestALookThatDoesNotEndIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{})
		began := time.Now()
		found := within(3*time.Second, "it", func(context.Context) finding { <-ended; return finding{} })(t.Context())
		if took := time.Since(began); took != 3*time.Second+grace || well(found) || found[0].Fix == "" {
			t.Errorf("%v after %s", found, took)
		}
		close(ended)
	})
}

func TestADiskThatIsFull(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("a small disk cannot be made here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	told := onData(t).but("ARCHIVE", disk)
	if output, code := ask(t, told); code != 0 {
		t.Errorf("an empty one: %s", output)
	}
	if err := os.WriteFile(filepath.Join(disk, "wal"), make([]byte, 1000<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, told, "disk of the WAL archive", "% free", "keep fewer backups")
}
