package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Host is a simulated machine. Its fields are read-only.
type Host struct {
	Name      string
	lab       *Lab
	namespace string     // the network namespace; empty for this process's own
	container *container // nil unless the lab's kind is Containers
	ports     map[string]*port
	processes []*Process
}

// AddHost adds a host that is connected to the networks.
func (l *Lab) AddHost(name string, networks ...string) (*Host, error) {
	return l.addHost(name, l.name+"-"+name, networks)
}

// AddLocalHost connects this process to the networks, as a host.
func (l *Lab) AddLocalHost(name string, networks ...string) (*Host, error) {
	return l.addHost(name, "", networks)
}

func (l *Lab) addHost(name, namespace string, networks []string) (*Host, error) {
	h := &Host{Name: name, lab: l, namespace: namespace, ports: map[string]*port{}}
	if err := h.create(); err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	l.mu.Lock()
	l.last++
	number := l.last
	l.hosts[name] = h
	l.mu.Unlock()
	for _, network := range networks {
		if err := h.connect(l.networks[network], number); err != nil {
			return nil, fmt.Errorf("host %s, network %s: %w", name, network, err)
		}
	}
	return h, l.writeHostsFiles()
}

// create creates the host without its network devices.
func (h *Host) create() error {
	if h.namespace == "" {
		return nil
	}
	for _, folder := range []string{h.Folder(), filepath.Dir(h.hostsFile())} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(h.hostsFile(), nil, 0o644); err != nil {
		return err
	}
	if h.lab.kind == Namespaces {
		if err := ip("netns", "add", h.namespace); err != nil {
			return err
		}
		return h.ip("link", "set", "lo", "up")
	}
	var err error
	h.container, err = startHolder(h.namespace, h.Name, h.namespace, mountArguments(h.hostsFile(), h.lab.shared, []string{h.Folder()}))
	return err
}

// connect creates the host's device of a network.
func (h *Host) connect(n *network, number byte) error {
	device := fmt.Sprintf("%sn%dh%d", h.lab.name, n.number, number)
	p, err := n.attach(h.Name, number, device)
	if err != nil {
		return err
	}
	h.ports[n.name] = p
	if h.namespace != "" {
		if err := ip("link", "set", device, "netns", h.namespace); err != nil {
			return err
		}
	}
	for _, arguments := range [][]string{
		{"link", "set", device, "address", p.mac.String(), "mtu", "1500"},
		{"link", "set", device, "up"},
		{"address", "add", p.address + "/24", "dev", device},
	} {
		if err := h.ip(arguments...); err != nil {
			return err
		}
	}
	return nil
}

// Address returns the host's address on a network.
func (h *Host) Address(network string) string { return h.ports[network].address }

func (h *Host) port(network string) *port {
	if h == nil {
		return nil
	}
	return h.ports[network]
}

// Processes returns the host's processes in the order of their first start.
func (h *Host) Processes() []*Process { return h.processes }

// Folder returns the host's folder. In containers, no other host sees it.
func (h *Host) Folder() string { return HostFolder(h.lab.folder, h.Name) }

// HostFolder returns the folder of a host in a lab whose folder is lab; the host need not
// exist yet.
func HostFolder(lab, host string) string { return filepath.Join(lab, "hosts", host) }

// hostsFile returns the file that the host sees as /etc/hosts (hosts(5)): the one that
// ip-netns(8) mounts.
func (h *Host) hostsFile() string { return filepath.Join("/etc/netns", h.namespace, "hosts") }

func (h *Host) close() error {
	for _, p := range h.processes {
		p.Kill()
	}
	for name, p := range h.ports {
		h.lab.networks[name].detach(p)
	}
	if h.namespace == "" {
		return nil
	}
	err := errors.Join(ip("netns", "delete", h.namespace), os.RemoveAll(filepath.Dir(h.hostsFile())))
	if h.container != nil {
		err = errors.Join(err, h.container.remove())
	}
	return err
}

func (h *Host) ip(arguments ...string) error {
	if h.namespace != "" {
		arguments = append([]string{"-netns", h.namespace}, arguments...)
	}
	return ip(arguments...)
}

func ip(arguments ...string) error {
	if output, err := exec.Command("ip", arguments...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(arguments, " "), err, output)
	}
	return nil
}

// Crash kills every process of the host at once, as a loss of power does.
func (h *Host) Crash() error {
	output, err := exec.Command("ip", "netns", "pids", h.namespace).Output()
	if err != nil {
		return fmt.Errorf("list the processes of %s: %w", h.Name, err)
	}
	for word := range strings.FieldsSeq(string(output)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		if h.container != nil && pid == h.container.pid {
			continue // the network namespace would end with it
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // fails if the process has exited
	}
	for _, p := range h.processes {
		p.awaitExit()
	}
	return nil
}
