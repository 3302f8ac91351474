package main

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"techtalks.example/web-tier/platform/server"
)

// settings are the flags of the program.
type settings struct {
	listenAddress string
	adminAddress  string
	logicAddress  string
	certificates  string
	secureCookies bool
	demo          bool
	drainDelay    time.Duration
	// trustedProxies and proxyHeader are server.ParseProxies's.
	trustedProxies, proxyHeader string
}

func (s *settings) register(flags *flag.FlagSet) error {
	text := func(into *string, name, twin, standard, about string) {
		flags.StringVar(into, name, cmp.Or(os.Getenv(twin), standard), about+" ("+twin+")")
	}
	text(&s.listenAddress, "listen-address", "LISTEN_ADDRESS", "127.0.0.1:8080", "host:port to answer browsers on")
	text(&s.adminAddress, "admin-address", "ADMIN_ADDRESS", "127.0.0.1:8081", "host:port for health and metrics")
	text(&s.logicAddress, "logic-address", "LOGIC_ADDRESS", "127.0.0.1:9090", "where the logic tier is: host:port, dns:///host:port, or several separated by commas, which calls are spread over; module=host:port after it for a module that is elsewhere")
	text(&s.certificates, "certificates", "CERTIFICATES", "certificates", "directory with ca.crt, web-tier.crt and web-tier.key")
	text(&s.trustedProxies, "trusted-proxies", "TRUSTED_PROXIES", "", "networks of the reverse proxies that report where browsers are, separated by commas, as in 10.1.0.0/16,192.0.2.7; nobody else is believed")
	text(&s.proxyHeader, "proxy-header", "PROXY_HEADER", server.XForwardedFor, "how those proxies report it: X-Forwarded-For, Forwarded (RFC 7239), or PROXY for the PROXY protocol")
	secure, err := strconv.ParseBool(cmp.Or(os.Getenv("SECURE_COOKIES"), "false"))
	if err != nil {
		return fmt.Errorf("SECURE_COOKIES: use true or false: %w", err)
	}
	flags.BoolVar(&s.secureCookies, "secure-cookies", secure, "browsers come over TLS: send cookies over it alone (SECURE_COOKIES)")
	demo, err := strconv.ParseBool(cmp.Or(os.Getenv("DEMO"), "false"))
	if err != nil {
		return fmt.Errorf("DEMO: use true or false: %w", err)
	}
	flags.BoolVar(&s.demo, "demo", demo, "offer the demo accounts, whose passwords everybody knows, on the sign-in page (DEMO)")
	delay, err := time.ParseDuration(cmp.Or(os.Getenv("DRAIN_DELAY"), "0s"))
	if err != nil {
		return fmt.Errorf("DRAIN_DELAY: use a duration such as 5s: %w", err)
	}
	flags.DurationVar(&s.drainDelay, "drain-delay", delay, "when asked to stop, how long to go on after /readyz says so, as in 5s: as long as a load balancer takes to notice (DRAIN_DELAY)")
	return nil
}
