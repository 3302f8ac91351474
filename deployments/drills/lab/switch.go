package lab

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxFrame is the longest Ethernet frame of a cable.
	maxFrame = 1514
	// maxWaiting bounds the frames on their way over a slow cable; those beyond are
	// dropped, as a router does whose queue is full.
	maxWaiting = 4096
)

// Cable is what happens to the frames from one host to another.
type Cable struct {
	// Cut drops all of them.
	Cut bool
	// Delay is how long each takes.
	Delay time.Duration
	// Loss is the part of them that is lost, from 0 to 1.
	Loss float64
}

// network is an Ethernet switch between hosts, in this process: what is done to a
// cable is done here, in one direction or in both, and needs nothing of the kernel
// but its TAP devices (Linux, Documentation/networking/tuntap).
type network struct {
	name   string
	prefix string // of IPv4 addresses: "10.77.1."
	number byte

	mu     sync.RWMutex
	ports  map[mac]*port
	cables map[[2]string]Cable // from host, to host
}

// port is a host's end of the network.
type port struct {
	host    string
	device  *os.File
	address string // IPv4
	mac     mac
	waiting chan late
}

// mac is an Ethernet address.
type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

// late is a frame that arrives later.
type late struct {
	frame []byte
	due   time.Time
}

func newNetwork(name, prefix string, number byte) *network {
	return &network{name: name, prefix: prefix, number: number, ports: map[mac]*port{}, cables: map[[2]string]Cable{}}
}

// attach makes the device of a host, whose number no other has.
func (n *network) attach(host string, number byte, device string) (*port, error) {
	file, err := openTAP(device)
	if err != nil {
		return nil, err
	}
	p := &port{
		host: host, device: file, address: fmt.Sprintf("%s%d", n.prefix, number),
		mac: mac{2, 0, 0, 0, n.number, number}, waiting: make(chan late, maxWaiting),
	}
	n.mu.Lock()
	n.ports[p.mac] = p
	n.mu.Unlock()
	go n.forward(p)
	go p.deliverLate()
	return p, nil
}

// detach takes a host's device away.
func (n *network) detach(p *port) {
	n.mu.Lock()
	delete(n.ports, p.mac)
	n.mu.Unlock()
	_ = p.device.Close()
	close(p.waiting)
}

func (n *network) set(from, to string, c Cable) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cables[[2]string{from, to}] = c
}

func (n *network) mend() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cables)
}

// forward brings the frames of a port to where they belong, until its device is closed.
func (n *network) forward(from *port) {
	for buffer := make([]byte, maxFrame); ; {
		size, err := from.device.Read(buffer)
		if err != nil {
			return
		}
		if size < 14 {
			continue
		}
		frame := buffer[:size]
		n.mu.RLock()
		if frame[0]&1 == 1 { // broadcast: who has this address? (RFC 826)
			for _, to := range n.ports {
				if to != from {
					n.send(from, to, frame)
				}
			}
		} else if to := n.ports[mac(frame[:6])]; to != nil {
			n.send(from, to, frame)
		}
		n.mu.RUnlock()
	}
}

func (n *network) send(from, to *port, frame []byte) {
	cable := n.cables[[2]string{from.host, to.host}]
	switch {
	case cable.Cut, cable.Loss > 0 && rand.Float64() < cable.Loss:
	case cable.Delay > 0:
		select {
		case to.waiting <- late{append([]byte(nil), frame...), time.Now().Add(cable.Delay)}:
		default:
		}
	default:
		_, _ = to.device.Write(frame) // a host that is being taken away hears nothing
	}
}

// deliverLate delivers in order what is due.
func (p *port) deliverLate() {
	for l := range p.waiting {
		time.Sleep(time.Until(l.due))
		_, _ = p.device.Write(l.frame)
	}
}

// openTAP makes a TAP device of this network namespace.
func openTAP(name string) (*os.File, error) {
	descriptor, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(descriptor, unix.TUNSETIFF, request); err != nil {
		_ = unix.Close(descriptor)
		return nil, fmt.Errorf("make the device %s: %w", name, err)
	}
	return os.NewFile(uintptr(descriptor), name), nil
}
