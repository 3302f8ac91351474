// Package lab makes hosts on one machine, of containers or of network namespaces: each
// has a name, a folder and a network of its own, and a cable to each network it is in. A
// network is a switch in this process, so that a cable can be cut, in one direction too,
// made slow, or made to lose what it carries. It needs root and /dev/net/tun.
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

// Lab is some networks and the hosts on them.
type Lab struct {
	kind     Kind
	folder   string   // of what processes say, and of the hosts' own folders
	shared   []string // folders that every host may read
	name     string   // that its devices and namespaces begin with
	networks map[string]*network

	mu    sync.Mutex
	hosts map[string]*Host
	last  byte
	names map[string][]string // more names than a host's own, and whose they are
}

// New returns a lab with networks of these names, for hosts of a kind. What their processes
// say, and the folder of each, go to folder; every host may read what is in shared.
func New(kind Kind, folder string, shared []string, networks ...string) (*Lab, error) {
	if err := Missing(kind); err != nil {
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

// freeNumber returns the second number of addresses that this machine has none of:
// several labs may stand side by side.
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
		// Its folder is taken and not only looked at: another lab may look now.
		if err := os.Mkdir(filepath.Join(os.TempDir(), fmt.Sprintf("techtalks-lab-%d", number)), 0o700); err == nil {
			return number, nil
		}
	}
	return 0, errors.New("no addresses are free for a lab: see whether techtalks-lab-* in the folder for temporary files are left over")
}

// Close takes everything away. The hosts' processes are killed.
func (l *Lab) Close() error {
	var err error
	for _, h := range l.Hosts() {
		err = errors.Join(err, h.close())
	}
	return errors.Join(err, os.Remove(filepath.Join(os.TempDir(), "techtalks-lab-"+strings.TrimPrefix(l.name, "tt"))))
}

// Hosts returns every host.
func (l *Lab) Hosts() (all []*Host) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.hosts {
		all = append(all, h)
	}
	return all
}

// Name has a name stand for all of some hosts, on each network.
func (l *Lab) Name(name string, hosts ...string) error {
	l.mu.Lock()
	l.names[name] = hosts
	l.mu.Unlock()
	return l.tellNames()
}

// tellNames writes what names stand for to every host (hosts(5)). A host is known on
// the networks that both are in.
func (l *Lab) tellNames() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, to := range l.hosts {
		if to.namespace == "" {
			continue
		}
		var text strings.Builder
		text.WriteString("127.0.0.1 localhost\n")
		for network := range to.ports {
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
		// In its place: it is mounted over /etc/hosts of processes that run.
		if err := os.WriteFile(to.namesFile(), []byte(text.String()), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Set says what happens to frames from one host to another, on whatever networks they
// share.
func (l *Lab) Set(from, to string, c Cable) {
	for _, n := range l.networks {
		n.set(from, to, c)
	}
}

// Between says what happens between two hosts, in both directions.
func (l *Lab) Between(a, b string, c Cable) {
	l.Set(a, b, c)
	l.Set(b, a, c)
}

// Mend mends every cable.
func (l *Lab) Mend() {
	for _, n := range l.networks {
		n.mend()
	}
}
