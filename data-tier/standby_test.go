package main

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

// crash kills a data tier and its Postgres, as a power failure does.
func (p *process) crash() {
	p.t.Helper()
	postgres := p.postgres()
	p.signal(syscall.SIGKILL)
	_ = syscall.Kill(postgres, syscall.SIGKILL)
	_ = p.awaitExit()
	until(p.t, "Postgres has exited", func() bool { return syscall.Kill(postgres, 0) == syscall.ESRCH })
}

func TestStandbyFollowsAndIsPromoted(t *testing.T) {
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
	until(t, "the standby has copied the primary", has(standby, "one"))
	primary.add("two")
	until(t, "the standby follows", has(standby, "one", "two"))
	if _, err := standby.as("accounts").ExecContext(t.Context(), addAccount, "never"); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("write to the standby: got %v, want a read-only error", err)
	}
	if output, err := do(t, "health", "--data-directory", second); err != nil {
		t.Errorf("health of a following standby: %v, %s", err, output)
	}
	epoch := primary.epoch()

	// While the primary sends WAL, its standby cannot be promoted.
	if output, err := do(t, "promote", "--data-directory", second); err == nil || !strings.Contains(output, "the primary still sends WAL") {
		t.Errorf("promotion beside the primary: got %v, %s, want an error", err, output)
	}
	primary.crash()
	if output := must(t, "promote", "--data-directory", second); !strings.Contains(output, "timeline 2") {
		t.Errorf("got output %q, want timeline 2", output)
	}
	if !has(standby, "one", "two")() {
		t.Errorf("after the promotion: got accounts %v, want one and two", standby.handles())
	}
	standby.add("three") // the same process accepts writes
	if standby.epoch() == epoch {
		t.Error("the promotion kept the epoch: sequence numbers of lost commits would be reused")
	}
	if output, err := do(t, "promote", "--data-directory", second); err == nil || !strings.Contains(output, "already belongs to a primary") {
		t.Errorf("second promotion: got %v, %s, want an error", err, output)
	}

	// The former primary can restart only as a standby.
	output, err := do(t, "serve", "--data-directory", first, "--certificates", certificates, "--listen-address", "127.0.0.1:0", "--partner", standby.address)
	if err == nil || !strings.Contains(output, "was promoted") || !strings.Contains(output, "--standby-of") {
		t.Errorf("former primary beside the new one: got %v, %s, want an error", err, output)
	}
	rejoined := start(t, first, certificates, "--standby-of", standby.address)
	until(t, "the former primary follows the new one", has(rejoined, "one", "two", "three"))

	// A restart with the previous settings does not undo the promotion.
	standby.signal(syscall.SIGTERM)
	if err := standby.awaitExit(); err != nil {
		t.Error(err)
	}
	again := start(t, second, certificates, "--standby-of", rejoined.address)
	again.add("four")
}

func TestStandbyLogsWhileItWaitsForPrimary(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	primary := start(t, dataFolder(t), certificates)
	address := primary.address
	primary.signal(syscall.SIGTERM)
	_ = primary.awaitExit()
	p := startAsync(t, dataFolder(t), certificates, "--standby-of", address)
	until(t, "the standby logs the primary's address", func() bool {
		return strings.Contains(p.output(), "waiting for the primary") && strings.Contains(p.output(), address)
	})
}

// A data tier with a certificate of another authority cannot follow.
func TestStandbyRequiresCertificateOfSameAuthority(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	primary := start(t, dataFolder(t), certificates)
	p := startAsync(t, dataFolder(t), foreign, "--standby-of", primary.address)
	until(t, "the standby logs a certificate error", func() bool { return strings.Contains(p.output(), "certificate") })
}
