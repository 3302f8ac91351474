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
	namespace string     // of its network; empty for the one that this process is in
	container *container // nil where there is none
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
	h := &Host{Name: name, lab: l, namespace: namespace, ports: map[string]*port{}}
	if err := h.make(); err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	l.mu.Lock()
	l.last++
	number := l.last
	l.hosts[name] = h
	l.mu.Unlock()
	for _, network := range networks {
		if err := h.plug(l.networks[network], number); err != nil {
			return nil, fmt.Errorf("host %s, network %s: %w", name, network, err)
		}
	}
	return h, l.tellNames()
}

// make makes the host, without its cables.
func (h *Host) make() error {
	if h.namespace == "" {
		return nil
	}
	for _, folder := range []string{h.Folder(), filepath.Dir(h.namesFile())} {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(h.namesFile(), nil, 0o644); err != nil {
		return err
	}
	if h.lab.kind == Namespaces {
		if err := ip("netns", "add", h.namespace); err != nil {
			return err
		}
		return h.ip("link", "set", "lo", "up")
	}
	var err error
	h.container, err = hold(h.namespace, h.Name, h.namespace, mounts(h.namesFile(), h.lab.shared, []string{h.Folder()}))
	return err
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

// Folder is the host's own: its processes may write to it, and no other host's.
func (h *Host) Folder() string { return FolderOf(h.lab.folder, h.Name) }

// FolderOf returns the folder of a host that is made, or will be, in a lab whose folder is
// lab.
func FolderOf(lab, host string) string { return filepath.Join(lab, "hosts", host) }

// namesFile stands in the place of /etc/hosts (hosts(5)), and lies where ip-netns(8) looks
// for it.
func (h *Host) namesFile() string { return filepath.Join("/etc/netns", h.namespace, "hosts") }

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
	err := errors.Join(ip("netns", "delete", h.namespace), os.RemoveAll(filepath.Dir(h.namesFile())))
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
		return fmt.Errorf("processes of %s: %w", h.Name, err)
	}
	for word := range strings.FieldsSeq(string(output)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		if h.container != nil && pid == h.container.pid {
			continue // with it the network would go
		}
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
	}
	for _, p := range h.processes {
		p.await()
	}
	return nil
}
