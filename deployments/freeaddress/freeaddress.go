// Package freeaddress finds loopback addresses that a program under test can listen on.
package freeaddress

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports lie below the range that Linux assigns to outgoing connections
// (ip_local_port_range, 32768 and up), so that no connection takes a port between
// the check and the program's own listen.
const firstPort, lastPort = 12_000, 32_000

// Find returns a host:port on 127.0.0.1 on which no program listens.
func Find() (string, error) {
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		return address, listener.Close()
	}
	return "", errors.New("no free port on 127.0.0.1 in 100 attempts")
}
