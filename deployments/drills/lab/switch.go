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
	// maxFrame is the maximum size of an Ethernet frame, in bytes.
	maxFrame = 1514
	// maxQueued bounds the frames in flight on a slow link. Further frames are dropped, as by
	// a router with a full queue.
	maxQueued = 4096
)

// Link is the behaviour of the network from one host to another.
type Link struct {
	// Cut drops all frames.
	Cut bool
	// Delay delays each frame.
	Delay time.Duration
	// Loss is the fraction of frames that are dropped, from 0 to 1.
	Loss float64
}

// network is an Ethernet switch in this process. Failures of links are simulated here, so that
// the kernel needs to provide only TAP devices (Linux, Documentation/networking/tuntap).
type network struct {
	name   string
	prefix string // of IPv4 addresses: "10.77.1."
	number byte   // in MAC addresses

	mu    sync.RWMutex
	ports map[mac]*port
	links map[[2]string]Link // from host, to host
}

// port is a host's connection to a network.
type port struct {
	host    string
	device  *os.File
	address string // IPv4
	mac     mac
	delayed chan delayedFrame
}

// mac is an Ethernet address.
type mac [6]byte

func (m mac) String() string { return net.HardwareAddr(m[:]).String() }

// delayedFrame is a frame that is delivered at a later time.
type delayedFrame struct {
	frame []byte
	due   time.Time
}

func newNetwork(name, prefix string, number byte) *network {
	return &network{name: name, prefix: prefix, number: number, ports: map[mac]*port{}, links: map[[2]string]Link{}}
}

// attach creates the TAP device of a host and starts to forward its frames. number is unique
// in the network.
func (n *network) attach(host string, number byte, device string) (*port, error) {
	file, err := openTAP(device)
	if err != nil {
		return nil, err
	}
	p := &port{
		host: host, device: file, address: fmt.Sprintf("%s%d", n.prefix, number),
		mac: mac{2, 0, 0, 0, n.number, number}, delayed: make(chan delayedFrame, maxQueued),
	}
	n.mu.Lock()
	n.ports[p.mac] = p
	n.mu.Unlock()
	go n.forward(p)
	go p.deliverDelayed()
	return p, nil
}

// detach deletes a host's device.
func (n *network) detach(p *port) {
	n.mu.Lock()
	delete(n.ports, p.mac)
	n.mu.Unlock()
	_ = p.device.Close()
	close(p.delayed)
}

func (n *network) setLink(from, to string, link Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.links[[2]string{from, to}] = link
}

func (n *network) restore() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.links)
}

// forward forwards the frames of a port until its device is closed.
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
		if frame[0]&1 == 1 { // broadcast, as ARP uses it (RFC 826)
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
	link := n.links[[2]string{from.host, to.host}]
	switch {
	case link.Cut, link.Loss > 0 && rand.Float64() < link.Loss:
	case link.Delay > 0:
		select {
		case to.delayed <- delayedFrame{append([]byte(nil), frame...), time.Now().Add(link.Delay)}:
		default:
		}
	default:
		_, _ = to.device.Write(frame) // fails while the host is being deleted
	}
}

// deliverDelayed delivers delayed frames when they are due, in order.
func (p *port) deliverDelayed() {
	for d := range p.delayed {
		time.Sleep(time.Until(d.due))
		_, _ = p.device.Write(d.frame)
	}
}

// openTAP creates a TAP device in this process's network namespace.
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
		return nil, fmt.Errorf("create the device %s: %w", name, err)
	}
	return os.NewFile(uintptr(descriptor), name), nil
}
