// Command dial reports whether an address accepts TCP connections from this host.
package main

import (
	"fmt"
	"net"
	"os"
	"time"
)

// timeout is how long to wait for an answer.
const timeout = 3 * time.Second

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dial host:port")
		os.Exit(2)
	}
	connection, err := net.DialTimeout("tcp", os.Args[1], timeout)
	if err != nil {
		fmt.Println("not reached:", err)
		os.Exit(1)
	}
	_ = connection.Close()
	fmt.Println("reached")
}
