package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
)

// Kind is what hosts are made of.
type Kind string

const (
	// Containers are hosts that see of each other's files and processes nothing.
	Containers Kind = "containers"
	// Namespaces are network namespaces (network_namespaces(7)): hosts with networks and
	// names of their own, that share this machine's files and process ids.
	Namespaces Kind = "namespaces"
)

// Best returns Containers where a container engine answers that can make hosts of them on
// this machine; else Namespaces, and why.
func Best() (Kind, error) {
	if err := Missing(Containers); err != nil {
		return Namespaces, err
	}
	return Containers, nil
}

// Missing says what this machine lacks to make hosts of a kind; nil when nothing.
func Missing(kind Kind) error {
	if os.Geteuid() != 0 {
		return errors.New("hosts on one machine need root, for network namespaces: run it by sudo")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("hosts on one machine need /dev/net/tun: %w", err)
	}
	programs := []string{"ip", "unshare"}
	if kind == Containers {
		programs = []string{"ip", "nsenter", "docker"}
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("hosts on one machine need %s (Debian: iproute2, util-linux, docker.io)", program)
		}
	}
	switch kind {
	case Namespaces:
		return nil
	case Containers:
		return tryContainer()
	}
	return fmt.Errorf("hosts are %q or %q, not %q", Containers, Namespaces, kind)
}

// tryContainer makes a container as a host is made, and takes it away; once.
var tryContainer = sync.OnceValue(func() error {
	if err := importImage(); err != nil {
		return err
	}
	name := fmt.Sprintf("tt-try-%d", os.Getpid())
	c, err := hold(name, "try", name, mounts("/dev/null", nil, nil))
	if err != nil {
		return err
	}
	return errors.Join(ip("netns", "delete", name), c.remove())
})
