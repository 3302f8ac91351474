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

// settings holds the values of the flags.
type settings struct {
	listenAddress string
	adminAddress  string
	logicAddress  string
	certificates  string
	secureCookies bool
	demo          bool
	drainDelay    time.Duration
	// trustedProxies and proxyHeader are the arguments of server.ParseProxies.
	trustedProxies, proxyHeader string
}

func (s *settings) register(flags *flag.FlagSet) error {
	text := func(value *string, name, variable, fallback, usage string) {
		flags.StringVar(value, name, cmp.Or(os.Getenv(variable), fallback), usage+" ("+variable+")")
	}
	text(&s.listenAddress, "listen-address", "LISTEN_ADDRESS", "127.0.0.1:8080", "host:port to serve browsers on")
	text(&s.adminAddress, "admin-address", "ADMIN_ADDRESS", "127.0.0.1:8081", "host:port to serve health and metrics on")
	text(&s.logicAddress, "logic-address", "LOGIC_ADDRESS", "127.0.0.1:9090", "logic tier: host:port, dns:///host:port, or several separated by commas to balance calls over; append module=host:port for a module at another address")
	text(&s.certificates, "certificates", "CERTIFICATES", "certificates", "directory with ca.crt, web-tier.crt and web-tier.key")
	text(&s.trustedProxies, "trusted-proxies", "TRUSTED_PROXIES", "", "comma-separated networks of the reverse proxies that are trusted to report client addresses, as in 10.1.0.0/16,192.0.2.7")
	text(&s.proxyHeader, "proxy-header", "PROXY_HEADER", server.XForwardedFor, "how trusted proxies report client addresses: X-Forwarded-For, Forwarded (RFC 7239), or PROXY for the PROXY protocol")
	secure, err := strconv.ParseBool(cmp.Or(os.Getenv("SECURE_COOKIES"), "false"))
	if err != nil {
		return fmt.Errorf("SECURE_COOKIES: use true or false: %w", err)
	}
	flags.BoolVar(&s.secureCookies, "secure-cookies", secure, "browsers reach the site over TLS: send cookies over TLS only (SECURE_COOKIES)")
	demo, err := strconv.ParseBool(cmp.Or(os.Getenv("DEMO"), "false"))
	if err != nil {
		return fmt.Errorf("DEMO: use true or false: %w", err)
	}
	flags.BoolVar(&s.demo, "demo", demo, "list the demo accounts with their public passwords on the sign-in page (DEMO)")
	delay, err := time.ParseDuration(cmp.Or(os.Getenv("DRAIN_DELAY"), "0s"))
	if err != nil {
		return fmt.Errorf("DRAIN_DELAY: use a duration such as 5s: %w", err)
	}
	flags.DurationVar(&s.drainDelay, "drain-delay", delay, "when asked to stop, how long to keep serving after /readyz fails, as in 5s: as long as a load balancer takes to notice (DRAIN_DELAY)")
	return nil
}
