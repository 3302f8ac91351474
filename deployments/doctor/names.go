package main

import (
	"context"
	"net"
	"slices"
	"strings"
)

// resolve says which addresses a host has; none when its name is not known here.
func (s settings) resolve(ctx context.Context, host string) ([]string, []finding) {
	var ips []string
	found := within(s.deadline, "name "+host, func(ctx context.Context) finding {
		if net.ParseIP(host) != nil {
			ips = []string{host}
			return finding{Verdict: fine, Found: "an address, which needs no name server"}
		}
		all, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return finding{Verdict: wrong, Found: "it does not resolve here: " + err.Error(),
				Fix: "mend the name where it is set, or give this host the name: in its DNS, in /etc/hosts, or for containers with extra_hosts"}
		}
		slices.Sort(all)
		ips = slices.Compact(all)
		return finding{Verdict: fine, Found: "resolves to " + strings.Join(ips, ", ")}
	})(ctx)
	if found[0].Verdict != fine {
		return nil, found // a look that ends too late may still write to ips
	}
	return ips, found
}
