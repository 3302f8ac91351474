package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
)

// Kind is the isolation mechanism of a lab's hosts.
type Kind string

const (
	// Containers isolate files, processes and networks.
	Containers Kind = "containers"
	// Namespaces isolate networks and host names only (network_namespaces(7)); hosts share
	// this machine's files and process IDs.
	Namespaces Kind = "namespaces"
)

// BestKind returns Containers if a container engine is available on this machine; otherwise
// it returns Namespaces and the reason.
func BestKind() (Kind, error) {
	if err := Check(Containers); err != nil {
		return Namespaces, err
	}
	return Containers, nil
}

// Check returns an error that names the first requirement of a kind that this machine lacks.
func Check(kind Kind) error {
	if os.Geteuid() != 0 {
		return errors.New("hosts on one machine need root, for network namespaces: run it with sudo")
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

// tryContainer starts and removes a container as a host would, once per process.
var tryContainer = sync.OnceValue(func() error {
	if err := importImage(); err != nil {
		return err
	}
	name := fmt.Sprintf("tt-try-%d", os.Getpid())
	c, err := startHolder(name, "try", name, mountArguments("/dev/null", nil, nil))
	if err != nil {
		return err
	}
	return errors.Join(ip("netns", "delete", name), c.remove())
})
