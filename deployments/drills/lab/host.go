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

// Host is a host. Its fields are for reading.
type Host struct {
	Name      string
	lab       *Lab
	namespace string // empty for the one that this process is in
	ports     map[string]*port
	processes []*Process
}

// Host makes a host that is in some networks.
func (l *Lab) Host(name string, networks ...string) (*Host, error) {
	return l.host(name, l.name+"-"+name, networks)
}

// Here makes this process a host of some networks.
func (l *Lab) Here(name string, networks ...string) (*Host, error) { return l.host(name, "", networks) }

func (l *Lab) host(name, namespace string, networks []string) (*Host, error) {
	l.mu.Lock()
	l.last++
	number := l.last
	h := &Host{Name: name, lab: l, namespace: namespace, ports: map[string]*port{}}
	l.hosts[name] = h
	l.mu.Unlock()
	if namespace != "" {
		if err := ip("netns", "add", namespace); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(h.folder(), 0o755); err != nil {
			return nil, err
		}
		if err := h.ip("link", "set", "lo", "up"); err != nil {
			return nil, err
		}
	}
	for _, network := range networks {
		if err := h.plug(l.networks[network], number); err != nil {
			return nil, fmt.Errorf("host %s, network %s: %w", name, network, err)
		}
	}
	return h, l.tellNames()
}

// plug puts a host's end of a cable into the host.
func (h *Host) plug(n *network, number byte) error {
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

// Processes returns the host's processes, in the order in which they were started first.
func (h *Host) Processes() []*Process { return h.processes }

// folder is where ip-netns(8) looks for the files that stand in the place of those in
// /etc.
func (h *Host) folder() string { return filepath.Join("/etc/netns", h.namespace) }

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
	return errors.Join(ip("netns", "delete", h.namespace), os.RemoveAll(h.folder()))
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
		return fmt.Errorf("processes of %s: %w", h.Name, err)
	}
	for word := range strings.FieldsSeq(string(output)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
	for _, p := range h.processes {
		p.await()
	}
	return nil
}
