package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// replicaShare is the share of a core that each replica gets: small enough that this machine can
// run two of them together with the load and Postgres.
const replicaShare = .2

// replicaConnections is the number of connections per replica. It is below the web tier's queue
// limit.
const replicaConnections = 12

// scalingEfficiency is the target for the throughput of two replicas, relative to twice that of
// one.
const scalingEfficiency = .9

// measureScaling limits each replica of a tier to a share of a core, and compares two replicas with
// one.
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
	var webFor [2]string // web tiers in front of one and of two logic tiers
	for i := range webFor {
		if webFor[i], err = start("web-tier", 0, "--logic-address", strings.Join(logics[:i+1], ",")); err != nil {
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
	duration := time.Duration(b.size(8000, 500)) * time.Millisecond
	// load requests pages from web tiers, with connections for a number of replicas.
	load := func(replicas int, addresses ...string) (perSecond float64, err error) {
		rates, failures := make(chan float64), make(chan error)
		for _, address := range addresses {
			go func() {
				result, err := loadOver(ctx, address, replicaConnections*replicas/len(addresses), paths, duration, nil)
				rates <- result.perSecond
				failures <- err
			}()
		}
		for range addresses {
			perSecond += <-rates
			err = errors.Join(err, <-failures)
		}
		return perSecond, err
	}
	for _, address := range append(webFor[:], webs...) { // warm up connections, statements and caches
		if _, err := load(1, address); err != nil {
			return err
		}
	}
	for _, tier := range []struct {
		name     string
		one, two []string
	}{
		{"logic", webFor[:1], webFor[1:]},
		{"web", webs[:1], webs},
	} {
		var ones, twos, efficiency []float64
		for range b.runs {
			one, err := load(1, tier.one...)
			if err != nil {
				return err
			}
			two, err := load(2, tier.two...)
			if err != nil {
				return err
			}
			ones, twos, efficiency = append(ones, one), append(twos, two), append(efficiency, two/one/2)
		}
		b.table("scaling, "+tier.name+" tier", "one replica",
			row{label: fmt.Sprintf("pages a second, two replicas with %.1f of a core each", replicaShare), ours: spread(twos, "%.0f"), baseline: spread(ones, "%.0f"),
				ratio:  fmt.Sprintf("%.2f of twice the rate", median(efficiency)),
				target: fmt.Sprintf("at least %.1f", scalingEfficiency), met: median(efficiency) >= scalingEfficiency})
	}
	return nil
}
