package main

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

// crash kills a data tier and its Postgres, as a loss of power does.
func (p *process) crash() {
	p.t.Helper()
	postgres := p.postgres()
	p.signal(syscall.SIGKILL)
	_ = syscall.Kill(postgres, syscall.SIGKILL)
	_ = p.awaitEnd()
	until(p.t, "its Postgres is gone", func() bool { return syscall.Kill(postgres, 0) == syscall.ESRCH })
}

func TestAStandbyFollowsAndTakesOver(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	first, second := dataFolder(t), dataFolder(t)
	primary := start(t, first, certificates)
	primary.add("one")
	standby := start(t, second, certificates, "--standby-of", primary.address)
	has := func(p *process, want ...string) func() bool {
		return func() bool { return slices.Equal(p.handles(), want) }
	}
	until(t, "the standby has what was there", has(standby, "one"))
	primary.add("two")
	until(t, "the standby follows", has(standby, "one", "two"))
	if _, err := standby.as("accounts").ExecContext(t.Context(), addAccount, "never"); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("a standby takes a write: %v", err)
	}
	if output, err := do(t, "health", "--data-directory", second); err != nil {
		t.Errorf("a standby that follows is not well: %s", output)
	}
	epoch := primary.epoch()

	// While the primary sends WAL there must not be another.
	if output, err := do(t, "promote", "--data-directory", second); err == nil || !strings.Contains(output, "the primary still sends WAL") {
		t.Errorf("promoted beside its primary: %v, %s", err, output)
	}
	primary.crash()
	if output := must(t, "promote", "--data-directory", second); !strings.Contains(output, "timeline 2") {
		t.Errorf("it says %q", output)
	}
	if !has(standby, "one", "two")() {
		t.Errorf("promoted, it has %v", standby.handles())
	}
	standby.add("three") // the same process takes writes
	if standby.epoch() == epoch {
		t.Error("the epoch is the same, and a lost commit's number would be another's")
	}
	if output, err := do(t, "promote", "--data-directory", second); err == nil || !strings.Contains(output, "a primary's already") {
		t.Errorf("promoted twice: %v, %s", err, output)
	}

	// The old primary comes back: not as another primary, but as the standby.
	output, err := do(t, "serve", "--data-directory", first, "--certificates", certificates, "--listen-address", "127.0.0.1:0", "--partner", standby.address)
	if err == nil || !strings.Contains(output, "was promoted") || !strings.Contains(output, "--standby-of") {
		t.Errorf("the old primary serves beside the new one: %v, %s", err, output)
	}
	rejoined := start(t, first, certificates, "--standby-of", standby.address)
	until(t, "the old primary follows the new one", has(rejoined, "one", "two", "three"))

	// A restart with the settings from before changes nothing of who is what.
	standby.signal(syscall.SIGTERM)
	if err := standby.awaitEnd(); err != nil {
		t.Error(err)
	}
	again := start(t, second, certificates, "--standby-of", rejoined.address)
	again.add("four")
}

// A standby waits, and says for whom, until its primary is there.
func TestAStandbyWithoutAPrimaryWaitsVisibly(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	gone := start(t, dataFolder(t), certificates)
	address := gone.address
	gone.signal(syscall.SIGTERM)
	_ = gone.awaitEnd()
	p := begin(t, dataFolder(t), certificates, "--standby-of", address)
	until(t, "it says for whom it waits", func() bool {
		return strings.Contains(p.output(), "waiting for the primary") && strings.Contains(p.output(), address)
	})
}

// Another authority's data tier is not followed, and does not follow.
func TestAStrangerIsNotFollowed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	primary := start(t, dataFolder(t), certificates)
	p := begin(t, dataFolder(t), foreign, "--standby-of", primary.address)
	until(t, "it says that it does not know it", func() bool { return strings.Contains(p.output(), "certificate") })
}
