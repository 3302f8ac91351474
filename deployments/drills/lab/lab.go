// Package lab simulates hosts on one machine, in containers or network namespaces. Each host
// has its own name, folder and network stack, and a link to each of its networks. A network
// is a switch in this process that can cut, delay or drop frames, in each direction
// separately. The package needs root and /dev/net/tun.
package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Lab is a set of networks and hosts.
type Lab struct {
	kind     Kind
	folder   string   // for logs and the hosts' folders
	shared   []string // folders that each host can read
	name     string   // the prefix of devices and namespaces
	networks map[string]*network

	mu    sync.Mutex
	hosts map[string]*Host
	last  byte                // the number of the newest host
	names map[string][]string // additional names, with their hosts
}

// New returns a lab with the named networks and no hosts. Logs and the hosts' folders are
// created in folder; each host can read the shared folders.
func New(kind Kind, folder string, shared []string, networks ...string) (*Lab, error) {
	if err := Check(kind); err != nil {
		return nil, err
	}
	number, err := freeNumber()
	if err != nil {
		return nil, err
	}
	l := &Lab{kind: kind, folder: folder, shared: shared, name: fmt.Sprintf("tt%d", number), networks: map[string]*network{}, hosts: map[string]*Host{}, names: map[string][]string{}}
	for i, name := range networks {
		l.networks[name] = newNetwork(name, fmt.Sprintf("10.%d.%d.", number, i+1), byte(i+1))
	}
	return l, nil
}

// freeNumber reserves an n such that this machine has no address in 10.n.0.0/16. Several labs
// can run at the same time.
func freeNumber() (int, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return 0, err
	}
search:
	for number := 77; number < 200; number++ {
		for _, a := range addresses {
			if strings.HasPrefix(a.String(), fmt.Sprintf("10.%d.", number)) {
				continue search
			}
		}
		// The folder is a lock: another lab may be searching at the same time.
		if err := os.Mkdir(filepath.Join(os.TempDir(), fmt.Sprintf("techtalks-lab-%d", number)), 0o700); err == nil {
			return number, nil
		}
	}
	return 0, fmt.Errorf("no free addresses for a lab: remove techtalks-lab-* left over in %s", os.TempDir())
}

// Close kills the hosts' processes and deletes the hosts and networks.
func (l *Lab) Close() error {
	var err error
	for _, h := range l.Hosts() {
		err = errors.Join(err, h.close())
	}
	return errors.Join(err, os.Remove(filepath.Join(os.TempDir(), "techtalks-lab-"+strings.TrimPrefix(l.name, "tt"))))
}

// Hosts returns all hosts, in no particular order.
func (l *Lab) Hosts() (all []*Host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.hosts {
		all = append(all, h)
	}
	return all
}

// AddName makes a name resolve to all of the hosts.
func (l *Lab) AddName(name string, hosts ...string) error {
	l.mu.Lock()
	l.names[name] = hosts
	l.mu.Unlock()
	return l.writeHostsFiles()
}

// writeHostsFiles writes the hosts file of each host (hosts(5)). It has the addresses in the
// networks that the host is connected to.
func (l *Lab) writeHostsFiles() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, host := range l.hosts {
		if host.namespace == "" {
			continue
		}
		var text strings.Builder
		text.WriteString("127.0.0.1 localhost\n")
		for network := range host.ports {
			for _, h := range l.hosts {
				if p := h.ports[network]; p != nil {
					fmt.Fprintf(&text, "%s %s\n", p.address, h.Name)
				}
			}
			for name, hosts := range l.names {
				for _, h := range hosts {
					if p := l.hosts[h].port(network); p != nil {
						fmt.Fprintf(&text, "%s %s\n", p.address, name)
					}
				}
			}
		}
		// Written in place: running processes have the file mounted over /etc/hosts.
		if err := os.WriteFile(host.hostsFile(), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// SetLink sets the behaviour of the link from one host to another, in all of their common
// networks.
func (l *Lab) SetLink(from, to string, link Link) {
	for _, n := range l.networks {
		n.setLink(from, to, link)
	}
}

// SetLinks sets the behaviour of the links between two hosts, in both directions.
func (l *Lab) SetLinks(a, b string, link Link) {
	l.SetLink(a, b, link)
	l.SetLink(b, a, link)
}

// RestoreLinks restores all links.
func (l *Lab) RestoreLinks() {
	for _, n := range l.networks {
		n.restore()
	}
}
