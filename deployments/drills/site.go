// Package drills tests the site under failures. A drill starts the tiers on separate hosts,
// runs clients against them, injects one failure and checks the guarantees. Each drill is a
// test, and a command (make drill).
package drills

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"techtalks.example/deployments/certificates"
	"techtalks.example/deployments/drills/lab"
	"techtalks.example/deployments/source"
)

// waitTimeout bounds each wait for a process to start or for the site to recover.
const waitTimeout = 90 * time.Second

// Networks of a site. Hosts can connect only within a network.
const (
	edge      = "edge"
	webLogic  = "web-logic"
	logicData = "logic-data"
)

// Shape is the number of instances of each tier, and the optional parts of a site.
type Shape struct {
	Web, Logic, Workers int
	// Disk is the size of the data tier's separate disk in MB; 0 uses this machine's.
	Disk int
	// Standby adds a standby of the data tier on another host.
	Standby bool
	// Broker uses RabbitMQ, on a separate host, as the queue's engine.
	Broker bool
	// Clock makes the data tier's clock settable.
	Clock bool
}

// Site is the three tiers, each process on its own host.
type Site struct {
	*lab.Lab
	folder    string
	programs  string
	programOf map[string]string // the program whose certificate a host has

	Data    *lab.Process
	Standby *lab.Process // nil without a standby
	Broker  *lab.Process // nil if the queue's engine is Postgres
	Logic   []*lab.Process
	Workers []*lab.Process
	Web     []*lab.Process

	disk                string // the mount point of the data tier's disk
	brokerConfiguration string // a folder
}

// BuildPrograms builds the programs of the tiers into a folder.
func BuildPrograms(ctx context.Context, folder string) error {
	tree, err := source.Tree()
	if err != nil {
		return err
	}
	return source.Build(ctx, tree, folder, source.DataTier, source.LogicTier, source.Talksctl, source.WebTier)
}

// NewSite creates the hosts and starts the tiers. config.Folder contains the hosts' folders,
// the certificate authority and the logs.
func NewSite(ctx context.Context, config Config, shape Shape) (*Site, error) {
	tree, err := source.Tree()
	if err != nil {
		return nil, err
	}
	s := &Site{folder: config.Folder, programs: config.Programs, programOf: map[string]string{}, brokerConfiguration: filepath.Join(tree, "deployments", "broker")}
	if s.Lab, err = lab.New(config.Hosts, config.Folder, []string{config.Programs, s.brokerConfiguration}, edge, webLogic, logicData, logicBroker); err != nil {
		return nil, err
	}
	if err := s.start(ctx, shape); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close kills all processes and deletes the hosts and the disk.
func (s *Site) Close() error {
	return errors.Join(s.Lab.Close(), s.unmountDisk())
}

// hostNames are the host names that certificates contain.
var hostNames = []string{"data", "standby", "logic", "broker"}

func (s *Site) start(ctx context.Context, shape Shape) error {
	if _, err := certificates.Issue(s.authority(), hostNames); err != nil {
		return err
	}
	if _, err := s.AddLocalHost("clients", edge); err != nil {
		return err
	}
	logicNetworks := []string{logicData}
	if shape.Broker {
		logicNetworks = append(logicNetworks, logicBroker)
		if err := s.startBroker(ctx); err != nil {
			return err
		}
	}
	if shape.Disk > 0 { // mounted first: a host sees only mounts that are older than itself
		if err := s.mountDisk(ctx, shape.Disk); err != nil {
			return err
		}
	}
	data, err := s.newHost("data", "data-tier", logicData)
	if err != nil {
		return err
	}
	var logicHosts []string
	for i := range shape.Logic {
		name := fmt.Sprintf("logic-%d", i+1)
		logicHosts = append(logicHosts, name)
		if _, err := s.newHost(name, "logic-tier", append([]string{webLogic}, logicNetworks...)...); err != nil {
			return err
		}
	}
	if err := s.AddName("logic", logicHosts...); err != nil {
		return err
	}
	settings := []string{"LISTEN_ADDRESS=0.0.0.0:5432", "DATA_DIRECTORY=" + s.dataDirectory(data.Name)}
	if shape.Clock {
		clock, err := s.clockSettings()
		if err != nil {
			return err
		}
		settings = append(settings, clock...)
	}
	if s.Data, err = s.run(data, "data-tier", settings...); err != nil {
		return err
	}
	if err := s.Healthy(ctx, s.Data); err != nil {
		return err
	}
	if shape.Standby {
		if err := s.startStandby(ctx); err != nil {
			return err
		}
	}
	for _, name := range logicHosts {
		p, err := s.run(s.host(name), "logic-tier", s.logicSettings()...)
		if err != nil {
			return err
		}
		s.Logic = append(s.Logic, p)
	}
	for i := range shape.Workers {
		host, err := s.newHost(fmt.Sprintf("worker-%d", i+1), "logic-tier", logicNetworks...)
		if err != nil {
			return err
		}
		p, err := s.Start(host, "work", "logic-tier", s.logicSettings()...)
		if err != nil {
			return err
		}
		s.Workers = append(s.Workers, p)
	}
	for i := range shape.Web {
		host, err := s.newHost(fmt.Sprintf("web-%d", i+1), "web-tier", edge, webLogic)
		if err != nil {
			return err
		}
		p, err := s.run(host, "web-tier", "LISTEN_ADDRESS=0.0.0.0:8080", "LOGIC_ADDRESS=dns:///logic:9090", "DRAIN_DELAY=1s")
		if err != nil {
			return err
		}
		s.Web = append(s.Web, p)
	}
	for _, p := range s.tiers()[1:] { // the data tier is healthy already
		if err := s.Healthy(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// tiers returns the processes of the three tiers, from the data tier to the web tiers.
func (s *Site) tiers() []*lab.Process {
	return slices.Concat([]*lab.Process{s.Data}, s.Logic, s.Workers, s.Web)
}

// startHealthy restarts a process that has exited, and waits until it is healthy.
func (s *Site) startHealthy(ctx context.Context, p *lab.Process) error {
	if err := p.Start(); err != nil {
		return err
	}
	return s.Healthy(ctx, p)
}

func (s *Site) host(name string) *lab.Host {
	for _, h := range s.Hosts() {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// newHost creates a host that has the certificate of one program only.
func (s *Site) newHost(name, program string, networks ...string) (*lab.Host, error) {
	s.programOf[name] = program
	if err := s.deliverCertificate(name); err != nil {
		return nil, err
	}
	return s.AddHost(name, networks...)
}

// deliverCertificate copies a host's current certificate from the authority to the host.
func (s *Site) deliverCertificate(host string) error {
	return certificates.Deliver(s.authority(), s.programOf[host], s.certificates(host), os.Getuid())
}

// authority is the folder of the certificate authority; no host sees it.
func (s *Site) authority() string { return filepath.Join(s.folder, "authority") }

// hostFolder is the folder of a host.
func (s *Site) hostFolder(host string) string { return lab.HostFolder(s.folder, host) }

func (s *Site) certificates(host string) string {
	return filepath.Join(s.hostFolder(host), "certificates")
}

// dataDirectory is the data directory of the data tier on a host; mountDisk can mount a disk
// above it.
func (s *Site) dataDirectory(host string) string {
	return filepath.Join(s.hostFolder(host), "disk", "postgres")
}

// startStandby starts a standby of the data tier.
func (s *Site) startStandby(ctx context.Context) error {
	host, err := s.newHost("standby", "data-tier", logicData)
	if err != nil {
		return err
	}
	if s.Standby, err = s.run(host, "data-tier", "LISTEN_ADDRESS=0.0.0.0:5432", "DATA_DIRECTORY="+s.dataDirectory(host.Name), "STANDBY_OF=data:5432"); err != nil {
		return err
	}
	return s.Healthy(ctx, s.Standby)
}

// promote promotes the standby and returns what the command printed.
func (s *Site) promote(ctx context.Context) (string, error) {
	host := s.Standby.Host
	command := host.Command(ctx, []string{"DATA_DIRECTORY=" + s.dataDirectory(host.Name)}, filepath.Join(s.programs, "data-tier"), "promote")
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("promote: %w: %s", err, output)
	}
	return strings.Join(strings.Fields(string(output)), " "), nil
}

func (s *Site) logicSettings() []string {
	settings := []string{"LISTEN_ADDRESS=0.0.0.0:9090", "DATA_ADDRESS=data:5432"}
	if s.Standby != nil {
		settings[1] += ",standby:5432"
	}
	if s.Broker != nil {
		settings = append(settings, "BROKER=amqps://broker:5671/techtalks")
	}
	return settings
}

func (s *Site) run(host *lab.Host, tier string, settings ...string) (*lab.Process, error) {
	return s.Start(host, "serve", tier, settings...)
}

// Start starts a tier's program on a host with a subcommand, "serve" or "work".
func (s *Site) Start(host *lab.Host, subcommand, tier string, settings ...string) (*lab.Process, error) {
	settings = append(settings, "CERTIFICATES="+s.certificates(host.Name), "SCRATCH="+filepath.Join(host.Folder(), "scratch"))
	return host.Start(tier, filepath.Join(s.programs, tier), settings, subcommand)
}

// Healthy waits until the health check of a process succeeds.
func (s *Site) Healthy(ctx context.Context, p *lab.Process) error {
	ctx, done := context.WithTimeout(ctx, waitTimeout)
	defer done()
	// One command repeats the check, since entering the host costs more than the check.
	check := p.Host.Command(ctx, []string{"DATA_DIRECTORY=" + s.dataDirectory(p.Host.Name)},
		"sh", "-c", `until "$0" health; do sleep 0.1; done`, filepath.Join(s.programs, p.Name))
	if output, err := check.CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(output)), "\n")
		return fmt.Errorf("%s on %s is not healthy: %w: %s\n%s", p.Name, p.Host.Name, err, lines[len(lines)-1], p.LogTail(15))
	}
	return nil
}

// Addresses returns the URLs of the web tiers.
func (s *Site) Addresses() (urls []string) {
	for _, p := range s.Web {
		urls = append(urls, "http://"+p.Host.Address(edge)+":8080")
	}
	return urls
}

// SQL runs statements in the database as its superuser, on the data tier's host.
func (s *Site) SQL(ctx context.Context, statements string) (string, error) {
	host := s.Data.Host
	command := host.Command(ctx, nil, "psql", "-h", s.dataDirectory(host.Name)+".socket", "-U", "postgres", "-d", "techtalks", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statements)
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, output)
	}
	return strings.TrimSpace(string(output)), nil
}

// Talksctl runs talksctl on a separate host.
func (s *Site) Talksctl(ctx context.Context, arguments ...string) (string, error) {
	host := s.host("operator")
	if host == nil {
		var err error
		if host, err = s.newHost("operator", "operator", webLogic); err != nil {
			return "", err
		}
	}
	command := host.Command(ctx, []string{"LOGIC_ADDRESS=logic:9090", "CERTIFICATES=" + s.certificates(host.Name)}, filepath.Join(s.programs, "talksctl"), arguments...)
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("talksctl %s: %w: %s", strings.Join(arguments, " "), err, output)
	}
	return string(output), nil
}
