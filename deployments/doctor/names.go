package main

import (
	"context"
	"net"
	"slices"
	"strings"
)

// resolve returns the addresses of a host; none if its name does not resolve on this host.
func (s settings) resolve(ctx context.Context, host string) ([]string, []finding) {
	var ips []string
	found := withDeadline(s.deadline, "name "+host, func(ctx context.Context) finding {
		if net.ParseIP(host) != nil {
			ips = []string{host}
			return finding{Verdict: verdictOK, Found: "an IP address; no name server needed"}
		}
		addresses, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return finding{Verdict: verdictWrong, Found: "does not resolve on this host: " + err.Error(),
				Fix: "correct the name in the setting, or add it to DNS, /etc/hosts, or extra_hosts of a container"}
		}
		slices.Sort(addresses)
		ips = slices.Compact(addresses)
		return finding{Verdict: verdictOK, Found: "resolves to " + strings.Join(ips, ", ")}
	})(ctx)
	if found[0].Verdict != verdictOK {
		return nil, found // a check past its deadline can still write to ips
	}
	return ips, found
}
