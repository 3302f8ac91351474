package main

import (
	"fmt"
	"slices"
	"strings"

	"techtalks.example/proto/transport"
)

// together says how the hosts of the data tier fit together.
func together(hosts []*dataHost) (found []finding) {
	for _, h := range hosts {
		h.mu.Lock()
		defer h.mu.Unlock()
	}
	var primaries, standbys []*dataHost
	var known int
	for _, h := range hosts {
		switch {
		case !h.answered:
			continue
		case h.state.standby:
			standbys = append(standbys, h)
		default:
			primaries = append(primaries, h)
		}
		known++
	}
	const about = "data tier"
	names := func(all []*dataHost) string {
		var names []string
		for _, h := range all {
			names = append(names, h.address.String())
		}
		return strings.Join(names, ", ")
	}
	switch {
	case known == 0:
		return []finding{{noted, about, "who takes writes is not known: none said", ""}}
	case len(primaries) == 0:
		found = append(found, finding{wrong, about, "nobody takes writes", "on the standby that is to be the primary: data-tier promote"})
	case len(primaries) > 1:
		found = append(found, finding{wrong, about, "several take writes, each its own: " + names(primaries),
			"stop all but the one that was promoted last, now; then start each as its standby (STANDBY_OF), and name the others in PARTNER"})
	default:
		found = append(found, finding{fine, about, names(primaries) + " takes writes", ""})
	}
	if len(primaries) == 1 {
		for _, standby := range standbys {
			found = append(found, lag(primaries[0], standby))
		}
	}
	if len(hosts) > 1 {
		found = append(found, sameVersions(hosts)...)
	}
	return found
}

// mostLag is how much WAL a standby may be behind, in bytes: a promotion waits until it
// is replayed, some seconds for this much.
const mostLag = 64 << 20

func lag(primary, standby *dataHost) finding {
	about := standby.address.String() + ", lag"
	// The two were asked a moment apart: what is below nothing is nothing.
	behind := max(primary.state.at-standby.state.at, 0)
	found := fmt.Sprintf("%.1f MB behind %s", float64(behind)/(1<<20), primary.address)
	if behind > mostLag {
		return finding{wrong, about, found, fmt.Sprintf("see the log on %s: is it cut off, its disk slow, or was it away? It catches up by itself while the primary keeps its WAL (max_slot_wal_keep_size)", standby.address.host)}
	}
	return finding{fine, about, found, ""}
}

// sameVersions compares what the hosts said of the same module.
func sameVersions(hosts []*dataHost) []finding {
	var differ []string
	compared := 0
	for _, module := range transport.Modules {
		var said []int64
		for _, h := range hosts {
			if version, known := h.versions[module]; known {
				said = append(said, version)
			}
		}
		if len(said) < 2 {
			continue
		}
		compared++
		if slices.Min(said) != slices.Max(said) {
			differ = append(differ, fmt.Sprintf("%s %v", module, said))
		}
	}
	const about = "schemas of the hosts"
	switch {
	case compared == 0:
		return nil
	case len(differ) > 0:
		return []finding{{wrong, about, "their versions differ: " + strings.Join(differ, ", "), "a standby has what its primary has: see whether it follows this one, and how far it is behind"}}
	}
	return []finding{{fine, about, "have the same versions", ""}}
}
