package freeaddress

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// portToReserve makes the test program report whether it can reserve the port in it.
const portToReserve = "FREEADDRESS_RESERVE"

func TestMain(m *testing.M) {
	port, err := strconv.Atoi(os.Getenv(portToReserve))
	if err != nil {
		os.Exit(m.Run())
	}
	os.Stdout.WriteString(strconv.FormatBool(reserve(port)) + "\n")
}

func portOf(t *testing.T) int {
	t.Helper()
	address, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestFindReservesPortsAcrossProcesses(t *testing.T) {
	port := portOf(t)
	if reserve(port) {
		t.Errorf("port %d can be reserved again in this process", port)
	}
	reserveElsewhere := func() string {
		command := exec.CommandContext(t.Context(), os.Args[0])
		command.Env = append(os.Environ(), portToReserve+"="+strconv.Itoa(port))
		output, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(output)
	}
	if got := reserveElsewhere(); got != "false\n" {
		t.Errorf("port %d can be reserved in another process: %q", port, got)
	}
	port = firstPort - 1 // of which this process has no lock
	if got := reserveElsewhere(); got != "true\n" {
		t.Errorf("an unused port cannot be reserved in another process: %q", got)
	}
}
