package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
)

// A program's certificate says who it is: the names are those of package transport,
// and of deployments/certificates.
const (
	webTier   = "web-tier"
	logicTier = "logic-tier"
	dataTier  = "data-tier"
	operator  = "operator"
)

// standpoint returns what is looked at from where this program stands.
func (s settings) standpoint() ([]check, error) {
	switch s.from {
	case "web":
		return s.as(webTier, nil, s.logicNeighbours), nil
	case "operator":
		return s.as(operator, nil, s.logicNeighbours), nil
	case "logic":
		return s.as(logicTier, nil, func(own credentials) []check {
			return slices.Concat(s.dataNeighbours(own), s.brokerNeighbours(own))
		}), nil
	case "data":
		return s.fromData(), nil
	default:
		return nil, fmt.Errorf("say with -from (FROM) which host this is: web, logic, data or operator; not %q", s.from)
	}
}

// as are the checks of a program that has a certificate and neighbours.
func (s settings) as(program string, hosts []string, neighbours func(own credentials) []check) []check {
	var all []check
	var own credentials
	if s.certificates == "" {
		all = append(all, missing("CERTIFICATES", "in which folder are the certificates?", "/etc/techtalks/certificates"))
	} else {
		own = credentials{directory: s.certificates, program: program}
		own.read()
		all = append(all, s.folder(own, hosts))
	}
	return slices.Concat(all, neighbours(own), s.closedPorts())
}

func (s settings) logicNeighbours(own credentials) []check {
	if s.logicAddress == "" {
		return []check{missing("LOGIC_ADDRESS", "where is the logic tier?", "logic.example.net:9090")}
	}
	addresses, err := logicAddresses(s.logicAddress)
	if err != nil {
		return []check{said(finding{wrong, "setting LOGIC_ADDRESS", err.Error(), "use host:port, dns:///host:port, or several separated by commas"})}
	}
	var all []check
	for _, a := range addresses {
		all = append(all, s.logic(own, a))
	}
	return append(all, said(finding{noted, "clock", "calls do not tell the logic tier's: it is compared on that host, with the data tier's, by doctor -from logic", ""}))
}

func (s settings) dataNeighbours(own credentials) []check {
	if s.dataAddress == "" {
		return []check{missing("DATA_ADDRESS", "where is the data tier?", "data.example.net:5432")}
	}
	addresses, err := hostPorts(s.dataAddress)
	if err != nil {
		return []check{said(finding{wrong, "setting DATA_ADDRESS", err.Error(), "use host:port, or those of primary and standbys separated by commas"})}
	}
	return []check{s.data(own, addresses)}
}

func (s settings) brokerNeighbours(own credentials) []check {
	if s.broker == "" {
		return nil
	}
	b, err := parseBroker(s.broker)
	if err != nil {
		return []check{said(finding{wrong, "setting BROKER", err.Error(), "use amqps://host:port/vhost, and for several hosts of a cluster amqps://host:port,host:port/vhost"})}
	}
	var all []check
	for _, a := range b.hosts {
		all = append(all, s.brokerHost(own, b, a))
	}
	return all
}

// fromData are the checks of the data tier's host: itself, and its partner where one is
// named.
func (s settings) fromData() []check {
	var hosts []string
	var first []check
	if s.dataHost == "" {
		first = append(first, missing("DATA_HOST", "under which name do the other hosts find this one?", "data.example.net"))
	} else {
		hosts = words(s.dataHost)
	}
	return slices.Concat(first, s.as(dataTier, hosts, func(own credentials) []check {
		all := s.disks()
		if s.dataAddress != "" {
			all = append(all, s.dataNeighbours(own)...)
		}
		return all
	}))
}

func (s settings) closedPorts() []check {
	if s.closed == "" {
		return nil
	}
	addresses, err := hostPorts(s.closed)
	if err != nil {
		return []check{said(finding{wrong, "setting CLOSED", err.Error(), "use host:port, or several separated by commas"})}
	}
	var all []check
	for _, a := range addresses {
		all = append(all, within(s.deadline, a.String()+" from here", func(ctx context.Context) finding { return closed(ctx, a) }))
	}
	return all
}

// present is what a program shows to its neighbours.
func (c credentials) present() []tls.Certificate {
	if c.pairErr != nil {
		return nil
	}
	return []tls.Certificate{c.pair}
}
