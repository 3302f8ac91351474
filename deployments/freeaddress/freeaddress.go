// Package freeaddress finds loopback addresses that a program under test can listen on.
package freeaddress

import (
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// The ports lie below the range that Linux assigns to outgoing connections
// (ip_local_port_range, 32768 and up), so that no connection takes a port between
// the check and the program's own listen.
const firstPort, lastPort = 12_000, 32_000

// reserved holds the ports that Find has returned in this process.
var reserved = struct {
	sync.Mutex
	ports map[int]bool
}{ports: map[int]bool{}}

// locks is a file in which other processes that call Find see this process's ports, or nil.
// The lock of a port is on the byte at its number, until this process exits (fcntl(2),
// F_OFD_SETLK).
var locks = sync.OnceValue(func() *os.File {
	file, err := os.OpenFile(filepath.Join(os.TempDir(), "techtalks-test-ports"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil // another user's: the check of the port has to do
	}
	return file
})

// Find returns a host:port on 127.0.0.1 on which no program listens. No other call returns
// it again, in this process or in another one that runs at the same time: minutes can pass
// before the program under test listens.
func Find() (string, error) {
	for range 100 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if !reserve(port) {
			continue
		}
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		return address, listener.Close()
	}
	return "", errors.New("no free port on 127.0.0.1 in 100 attempts")
}

// reserve reports whether no call of Find has returned the port.
func reserve(port int) bool {
	reserved.Lock()
	defer reserved.Unlock()
	if reserved.ports[port] {
		return false
	}
	if file := locks(); file != nil {
		lock := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(port), Len: 1}
		if unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lock) != nil {
			return false
		}
	}
	reserved.ports[port] = true
	return true
}
