package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
)

// Names of programs in certificates, as in package transport and deployments/certificates.
const (
	webTier   = "web-tier"
	logicTier = "logic-tier"
	dataTier  = "data-tier"
	operator  = "operator"
)

// plan returns the checks for this kind of host.
func (s settings) plan() ([]check, error) {
	switch s.from {
	case "web":
		return s.programChecks(webTier, nil, s.logicTierChecks), nil
	case "operator":
		return s.programChecks(operator, nil, s.logicTierChecks), nil
	case "logic":
		return s.programChecks(logicTier, nil, func(creds credentials) []check {
			return slices.Concat(s.dataTierChecks(creds), s.brokerChecks(creds))
		}), nil
	case "data":
		return s.dataChecks(), nil
	default:
		return nil, fmt.Errorf("invalid -from (FROM) %q: use web, logic, data or operator", s.from)
	}
}

// programChecks returns the checks of a program: its certificate, the servers that it connects
// to, and ports that must be closed.
func (s settings) programChecks(program string, hosts []string, serverChecks func(creds credentials) []check) []check {
	var checks []check
	var creds credentials
	if s.certificates == "" {
		checks = append(checks, missing("CERTIFICATES", "the folder of the certificates", "/etc/techtalks/certificates"))
	} else {
		creds = credentials{directory: s.certificates, program: program}
		creds.read()
		checks = append(checks, s.checkFolder(creds, hosts))
	}
	return slices.Concat(checks, serverChecks(creds), s.closedPortChecks())
}

func (s settings) logicTierChecks(creds credentials) []check {
	if s.logicAddress == "" {
		return []check{missing("LOGIC_ADDRESS", "the address of the logic tier", "logic.example.net:9090")}
	}
	addresses, err := parseLogicAddresses(s.logicAddress)
	if err != nil {
		return []check{report(finding{verdictWrong, "setting LOGIC_ADDRESS", err.Error(), "use host:port, dns:///host:port, or several separated by commas"})}
	}
	var checks []check
	for _, a := range addresses {
		checks = append(checks, s.checkLogicTier(creds, a))
	}
	return append(checks, report(finding{verdictNote, "clock", "not checked: doctor -from logic, on the logic tier's host, compares that host's clock with the data tier's", ""}))
}

func (s settings) dataTierChecks(creds credentials) []check {
	if s.dataAddress == "" {
		return []check{missing("DATA_ADDRESS", "the address of the data tier", "data.example.net:5432")}
	}
	addresses, err := parseAddresses(s.dataAddress)
	if err != nil {
		return []check{report(finding{verdictWrong, "setting DATA_ADDRESS", err.Error(), "use host:port, or several for primary and standbys, separated by commas"})}
	}
	return []check{s.checkDataTier(creds, addresses)}
}

func (s settings) brokerChecks(creds credentials) []check {
	if s.broker == "" {
		return nil
	}
	b, err := parseBroker(s.broker)
	if err != nil {
		return []check{report(finding{verdictWrong, "setting BROKER", err.Error(), "use amqps://host:port/vhost, or amqps://host:port,host:port/vhost for a cluster"})}
	}
	var checks []check
	for _, a := range b.hosts {
		checks = append(checks, s.checkBrokerHost(creds, b, a))
	}
	return checks
}

// dataChecks returns the checks of a data tier's host: its disks, and the addresses in
// DATA_ADDRESS.
func (s settings) dataChecks() []check {
	var hosts []string
	var settingChecks []check
	if s.dataHost == "" {
		settingChecks = append(settingChecks, missing("DATA_HOST", "the name of this host on the other hosts", "data.example.net"))
	} else {
		hosts = splitList(s.dataHost)
	}
	return slices.Concat(settingChecks, s.programChecks(dataTier, hosts, func(creds credentials) []check {
		checks := s.diskChecks()
		if s.dataAddress != "" {
			checks = append(checks, s.dataTierChecks(creds)...)
		}
		return checks
	}))
}

func (s settings) closedPortChecks() []check {
	if s.closed == "" {
		return nil
	}
	addresses, err := parseAddresses(s.closed)
	if err != nil {
		return []check{report(finding{verdictWrong, "setting CLOSED", err.Error(), "use host:port, or several separated by commas"})}
	}
	var checks []check
	for _, a := range addresses {
		checks = append(checks, withDeadline(s.deadline, a.String()+" from here", func(ctx context.Context) finding { return checkClosed(ctx, a) }))
	}
	return checks
}

// clientCertificates returns the certificate that a program presents to servers.
func (c credentials) clientCertificates() []tls.Certificate {
	if c.pairErr != nil {
		return nil
	}
	return []tls.Certificate{c.pair}
}
