package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// replicaShare is the part of a core that each replica gets, so that two of them need no
// more cores than this machine has for all that they need.
const replicaShare = .2

// replicaConnections is how many people ask side by side, for each replica: fewer than
// wait for a place.
const replicaConnections = 12

// scalingEfficiency is what two replicas are to answer at least, of twice what one does.
const scalingEfficiency = .9

// measureScaling gives each replica of a tier a part of a core, and compares two of them
// with one.
func measureScaling(ctx context.Context, b *bench) (err error) {
	s, paths, err := b.withChannels(ctx)
	if err != nil {
		return err
	}
	if err := canLimitCPU(); err != nil {
		fmt.Printf("  not measured: %v\n", err)
		return nil
	}
	var running []*replica
	defer func() {
		for _, r := range running {
			err = errors.Join(err, r.stop())
		}
	}()
	start := func(tier string, share float64, settings ...string) (string, error) {
		r, err := b.startReplica(ctx, s, tier, share, settings...)
		if err != nil {
			return "", err
		}
		running = append(running, r)
		return r.address, nil
	}
	var logics []string
	for range 2 {
		address, err := start("logic-tier", replicaShare, "--data-address", s.data, "--work=false")
		if err != nil {
			return err
		}
		logics = append(logics, address)
	}
	var before [2]string // web tiers before one logic tier, and before two
	for i := range before {
		if before[i], err = start("web-tier", 0, "--logic-address", strings.Join(logics[:i+1], ",")); err != nil {
			return err
		}
	}
	var webs []string
	for range 2 {
		address, err := start("web-tier", replicaShare, "--logic-address", s.logic)
		if err != nil {
			return err
		}
		webs = append(webs, address)
	}
	long := time.Duration(b.size(8000, 500)) * time.Millisecond
	// ask asks each web tier for as many replicas as it stands for.
	ask := func(replicas int, addresses ...string) (perSecond float64, err error) {
		rates, failures := make(chan float64), make(chan error)
		for _, address := range addresses {
			go func() {
				a, err := askOverMany(ctx, address, replicaConnections*replicas/len(addresses), paths, long, nil)
				rates <- a.perSecond
				failures <- err
			}()
		}
		for range addresses {
			perSecond += <-rates
			err = errors.Join(err, <-failures)
		}
		return perSecond, err
	}
	for _, address := range append(before[:], webs...) { // connections, statements and caches
		if _, err := ask(1, address); err != nil {
			return err
		}
	}
	for _, tier := range []struct {
		name     string
		one, two []string
	}{
		{"logic", before[:1], before[1:]},
		{"web", webs[:1], webs},
	} {
		var ones, twos, efficiency []float64
		for range b.runs {
			one, err := ask(1, tier.one...)
			if err != nil {
				return err
			}
			two, err := ask(2, tier.two...)
			if err != nil {
				return err
			}
			ones, twos, efficiency = append(ones, one), append(twos, two), append(efficiency, two/one/2)
		}
		b.table("scaling, "+tier.name+" tier", "one replica",
			row{what: fmt.Sprintf("pages a second, two replicas with %.1f of a core each", replicaShare), ours: spread(twos, "%.0f"), against: spread(ones, "%.0f"),
				ratio:  fmt.Sprintf("%.2f of twice as many", median(efficiency)),
				target: fmt.Sprintf("at least %.1f", scalingEfficiency), met: median(efficiency) >= scalingEfficiency})
	}
	return nil
}
