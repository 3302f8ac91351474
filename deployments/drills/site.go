// Package drills has the tiers on hosts of their own, people who use them, and
// something that goes wrong: it says what was promised, what was done to it, and what
// was seen. Each drill is a test, and a command of its own (make drill).
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

// patience bounds every wait for something to start, or to be as it was.
const patience = 90 * time.Second

// Networks of a site: who may talk to whom.
const (
	edge      = "edge"
	webLogic  = "web-logic"
	logicData = "logic-data"
)

// Shape is how many of each there are.
type Shape struct {
	Web, Logic, Workers int
	// Disk is the size of the data tier's disk in MB; 0 is that of this machine.
	Disk int
	// Standby has the data tier followed by a standby on another host.
	Standby bool
	// Broker has the queue in RabbitMQ, on a host of its own.
	Broker bool
	// Clock has the data tier's clock be one that can be set.
	Clock bool
}

// Site is the three tiers on hosts of their own.
type Site struct {
	*lab.Lab
	folder   string
	programs string
	of       map[string]string // whose certificate each host has

	Data    *lab.Process
	Standby *lab.Process // nil when there is none
	Broker  *lab.Process // nil when the queue is in Postgres
	Logic   []*lab.Process
	Workers []*lab.Process
	Web     []*lab.Process

	disk                string // where the data tier's own is mounted
	brokerConfiguration string // the folder that has it
}

// Programs builds the tiers into a folder.
func Programs(ctx context.Context, folder string) error {
	tree, err := source.Tree()
	if err != nil {
		return err
	}
	return source.Build(ctx, tree, folder, source.DataTier, source.LogicTier, source.Talksctl, source.WebTier)
}

// NewSite makes the hosts and starts the tiers. The place's folder keeps what each host
// has, the authority and the logs.
func NewSite(ctx context.Context, at Place, shape Shape) (*Site, error) {
	tree, err := source.Tree()
	if err != nil {
		return nil, err
	}
	s := &Site{folder: at.Folder, programs: at.Programs, of: map[string]string{}, brokerConfiguration: filepath.Join(tree, "deployments", "broker")}
	if s.Lab, err = lab.New(at.Hosts, at.Folder, []string{at.Programs, s.brokerConfiguration}, edge, webLogic, logicData, logicBroker); err != nil {
		return nil, err
	}
	if err := s.start(ctx, shape); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close takes everything away.
func (s *Site) Close() error {
	return errors.Join(s.Lab.Close(), s.unmountDisk())
}

// hostNames are of the hosts that others know by name.
var hostNames = []string{"data", "standby", "logic", "broker"}

func (s *Site) start(ctx context.Context, shape Shape) error {
	if _, err := certificates.Issue(s.authority(), hostNames); err != nil {
		return err
	}
	if _, err := s.Here("people", edge); err != nil {
		return err
	}
	behind := []string{logicData}
	if shape.Broker {
		behind = append(behind, logicBroker)
		if err := s.startBroker(ctx); err != nil {
			return err
		}
	}
	if shape.Disk > 0 { // a host sees what is mounted before it is made
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
		if _, err := s.newHost(name, "logic-tier", append([]string{webLogic}, behind...)...); err != nil {
			return err
		}
	}
	if err := s.Name("logic", logicHosts...); err != nil {
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
		host, err := s.newHost(fmt.Sprintf("worker-%d", i+1), "logic-tier", behind...)
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
	for _, p := range s.tiers()[1:] { // the data tier is
		if err := s.Healthy(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// tiers are the processes of the three tiers: the data tier's first, the web tiers' last.
func (s *Site) tiers() []*lab.Process {
	return slices.Concat([]*lab.Process{s.Data}, s.Logic, s.Workers, s.Web)
}

// startHealthy starts a process that has ended, and waits until it is healthy.
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

// newHost makes a host that has the certificate of one program, and no other.
func (s *Site) newHost(name, program string, networks ...string) (*lab.Host, error) {
	s.of[name] = program
	if err := s.deliver(name); err != nil {
		return nil, err
	}
	return s.Host(name, networks...)
}

// deliver gives a host its certificate as the authority has it now.
func (s *Site) deliver(host string) error {
	return certificates.Deliver(s.authority(), s.of[host], s.certificates(host), os.Getuid())
}

// authority is the folder in which certificates are made; no host sees it.
func (s *Site) authority() string { return filepath.Join(s.folder, "authority") }

// home is a host's own folder.
func (s *Site) home(host string) string { return lab.FolderOf(s.folder, host) }

func (s *Site) certificates(host string) string { return filepath.Join(s.home(host), "certificates") }

// dataDirectory is where the data tier on a host keeps its files; it may be a disk of
// their own.
func (s *Site) dataDirectory(host string) string {
	return filepath.Join(s.home(host), "disk", "postgres")
}

// startStandby starts a data tier that follows the first.
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

// promote makes the standby the primary.
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

// Start starts a tier's program on a host: "serve" or "work".
func (s *Site) Start(host *lab.Host, what, tier string, settings ...string) (*lab.Process, error) {
	settings = append(settings, "CERTIFICATES="+s.certificates(host.Name), "SCRATCH="+filepath.Join(host.Folder(), "scratch"))
	return host.Start(tier, filepath.Join(s.programs, tier), settings, what)
}

// Healthy waits until a process says that it is.
func (s *Site) Healthy(ctx context.Context, p *lab.Process) error {
	ctx, done := context.WithTimeout(ctx, patience)
	defer done()
	// The host is entered once, and not for each question: that costs more than to ask.
	check := p.Host.Command(ctx, []string{"DATA_DIRECTORY=" + s.dataDirectory(p.Host.Name)},
		"sh", "-c", `until "$0" health; do sleep 0.1; done`, filepath.Join(s.programs, p.Name))
	if said, err := check.CombinedOutput(); err != nil {
		all := strings.Split(strings.TrimSpace(string(said)), "\n")
		return fmt.Errorf("%s on %s is not healthy: %w: %s\n%s", p.Name, p.Host.Name, err, all[len(all)-1], p.End(15))
	}
	return nil
}

// Addresses are where browsers find the site.
func (s *Site) Addresses() (all []string) {
	for _, p := range s.Web {
		all = append(all, "http://"+p.Host.Address(edge)+":8080")
	}
	return all
}

// SQL runs statements in the database as its superuser, on the data tier's own host,
// until ctx ends.
func (s *Site) SQL(ctx context.Context, statements string) (string, error) {
	host := s.Data.Host
	command := host.Command(ctx, nil, "psql", "-h", s.dataDirectory(host.Name)+".socket", "-U", "postgres", "-d", "techtalks", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statements)
	output, err := command.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, output)
	}
	return strings.TrimSpace(string(output)), nil
}

// Talksctl runs the operator's command line on a host of its own.
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
