package main

import (
	"fmt"
	"slices"
	"strings"

	"techtalks.example/proto/transport"
)

// checkReplication checks that the hosts of the data tier are one primary and standbys of the
// same version that keep up with it.
func checkReplication(hosts []*dataHost) (findings []finding) {
	for _, h := range hosts {
		h.mu.Lock()
		defer h.mu.Unlock()
	}
	var primaries, standbys []*dataHost
	var count int
	for _, h := range hosts {
		switch {
		case !h.known:
			continue
		case h.state.standby:
			standbys = append(standbys, h)
		default:
			primaries = append(primaries, h)
		}
		count++
	}
	const about = "data tier"
	names := func(hosts []*dataHost) string {
		var names []string
		for _, h := range hosts {
			names = append(names, h.address.String())
		}
		return strings.Join(names, ", ")
	}
	switch {
	case count == 0:
		return []finding{{verdictNote, about, "not checked: no host reported its role", ""}}
	case len(primaries) == 0:
		findings = append(findings, finding{verdictWrong, about, "no primary", "promote a standby: run data-tier promote on its host"})
	case len(primaries) > 1:
		findings = append(findings, finding{verdictWrong, about, "several primaries with diverging data: " + names(primaries),
			"stop all but the one that was promoted last; then start the others as its standbys (STANDBY_OF), and set PARTNER to the other hosts"})
	default:
		findings = append(findings, finding{verdictOK, about, "the primary is " + names(primaries), ""})
	}
	if len(primaries) == 1 {
		for _, standby := range standbys {
			findings = append(findings, checkLag(primaries[0], standby))
		}
	}
	if len(hosts) > 1 {
		findings = append(findings, compareVersions(hosts)...)
	}
	return findings
}

// maxLag is the maximum of WAL that a standby has not replayed, in bytes. A promotion replays it
// first, which takes some seconds.
const maxLag = 64 << 20

func checkLag(primary, standby *dataHost) finding {
	about := standby.address.String() + ", lag"
	// The two positions were read at different times, so that the difference can be negative.
	behind := max(primary.state.walPosition-standby.state.walPosition, 0)
	found := fmt.Sprintf("%.1f MB behind %s", float64(behind)/(1<<20), primary.address)
	if behind > maxLag {
		return finding{verdictWrong, about, found, fmt.Sprintf("see the log on %s: it was disconnected or its disk is slow. It catches up by itself while the primary retains the WAL (max_slot_wal_keep_size)", standby.address.host)}
	}
	return finding{verdictOK, about, found, ""}
}

// compareVersions checks that the schemas of each module have the same version on all hosts.
func compareVersions(hosts []*dataHost) []finding {
	var differ []string
	compared := 0
	for _, module := range transport.Modules {
		var versions []int64
		for _, h := range hosts {
			if version, ok := h.versions[module]; ok {
				versions = append(versions, version)
			}
		}
		if len(versions) < 2 {
			continue
		}
		compared++
		if slices.Min(versions) != slices.Max(versions) {
			differ = append(differ, fmt.Sprintf("%s %v", module, versions))
		}
	}
	const about = "schemas of the hosts"
	switch {
	case compared == 0:
		return nil
	case len(differ) > 0:
		return []finding{{verdictWrong, about, "different versions: " + strings.Join(differ, ", "), "check that the standby follows this primary, and its lag: a standby has the schemas of its primary"}}
	}
	return []finding{{verdictOK, about, "same versions on all hosts", ""}}
}
