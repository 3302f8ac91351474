package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// engineTimeout bounds a command of the container engine, which usually takes a second.
	engineTimeout = time.Minute
	// image contains empty folders only; their content is mounted from the machine.
	image = "techtalks-drill-host:1"
	// holder is the program of the container that holds a host's namespaces.
	holder = "sh"
	// sharedMemory is the size of a process's /dev/shm: Postgres' parallel workers use it.
	sharedMemory = "256m"
)

// machinePaths are the paths of this machine that a container sees read-only: programs, and
// the configuration that they need to start. Missing paths are skipped.
var machinePaths = []string{
	"/usr", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64",
	"/etc/alternatives", "/etc/group", "/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd",
	"/etc/perl", "/etc/postgresql-common", "/etc/ssl",
}

// container is a container that holds a host's namespaces and does nothing else. Each process
// of the host runs in a container that shares its network and process IDs.
type container struct {
	name   string
	pid    int      // of the holder
	mounts []string // arguments of "docker run"
}

// engine runs a command of the container engine and returns its output.
func engine(arguments ...string) (string, error) {
	ctx, done := context.WithTimeout(context.Background(), engineTimeout)
	defer done()
	command := exec.CommandContext(ctx, "docker", arguments...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", arguments[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(output)), nil
}

// startHolder starts the container that holds a host's namespaces and attaches its network
// namespace as /run/netns/network.
func startHolder(name, hostname, network string, mounts []string) (_ *container, err error) {
	c := &container{name: name, mounts: mounts}
	arguments := append([]string{"run", "--detach", "--rm", "--name", name, "--hostname", hostname, "--network", "none", "--log-driver", "none"}, mounts...)
	// The holder reaps orphans, as a host's init does. Otherwise a killed process would stay
	// a zombie, and a restarted Postgres would wait for its predecessor.
	if _, err := engine(append(arguments, image, holder, "-c", "while :; do sleep 1000 & wait; done")...); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.remove())
		}
	}()
	pid, err := engine("inspect", "--format", "{{.State.Pid}}", name)
	if err != nil {
		return nil, err
	}
	if c.pid, err = strconv.Atoi(pid); err != nil {
		return nil, err
	}
	if err := c.awaitHolder(); err != nil {
		return nil, err
	}
	return c, ip("netns", "attach", network, pid)
}

// awaitHolder waits until the holder runs, and fails if its process ID is not valid on this
// machine, as with an engine in a virtual machine.
func (c *container) awaitHolder() error {
	var program []byte
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if program, _ = os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.pid)); string(program) == holder+"\n" {
			return nil
		}
	}
	return fmt.Errorf("process %d of the container engine runs %q here, want %q: the engine must run on this machine", c.pid, program, holder)
}

func (c *container) remove() error {
	_, err := engine("rm", "--force", c.name)
	return err
}

// run returns a command that runs a program as a process of the host. The command exits with
// the program's exit code and forwards signals to it.
func (c *container) run(process string, settings []string, program string, arguments []string) *exec.Cmd {
	all := append([]string{"run", "--rm", "--name", c.processName(process), "--network", "container:" + c.name, "--pid", "container:" + c.name, "--shm-size", sharedMemory, "--log-driver", "none"}, c.mounts...)
	for _, s := range settings {
		all = append(all, "--env", s)
	}
	return exec.Command("docker", append(append(all, image, program), arguments...)...)
}

func (c *container) processName(process string) string { return c.name + "-" + process }

// kill kills a process that run started, with its children.
func (c *container) kill(process string) { _, _ = engine("kill", c.processName(process)) }

// enter returns the arguments of nsenter(1) that run a program in the container's namespaces.
// That saves the second that starting a container takes.
func (c *container) enter() []string {
	return []string{"--target", strconv.Itoa(c.pid), "--mount", "--uts", "--ipc", "--net", "--pid"}
}

// mountArguments returns the arguments of "docker run" that mount the machine's programs, the
// hosts file and folders, at the same paths.
func mountArguments(hostsFile string, readOnly, writable []string) (arguments []string) {
	for _, path := range append(existing(machinePaths), readOnly...) {
		arguments = append(arguments, "--volume", path+":"+path+":ro")
	}
	for _, path := range writable {
		arguments = append(arguments, "--volume", path+":"+path)
	}
	return append(arguments, "--volume", hostsFile+":/etc/hosts:ro")
}

// existing returns the paths that exist, without links to folders, which the image contains.
func existing(paths []string) (found []string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || (info.IsDir() && linkTarget(path) != "") {
			continue
		}
		found = append(found, path)
	}
	return found
}

// linkTarget returns the target of a symbolic link, or "".
func linkTarget(path string) string {
	target, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return target
}

// importImage imports the image unless the engine has it.
func importImage() error {
	if _, err := engine("image", "inspect", image); err == nil {
		return nil
	}
	var skeleton bytes.Buffer
	if err := writeSkeleton(&skeleton); err != nil {
		return err
	}
	ctx, done := context.WithTimeout(context.Background(), engineTimeout)
	defer done()
	command := exec.CommandContext(ctx, "docker", "import", "-", image)
	command.Stdin = &skeleton
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("docker import: %w: %s", err, output)
	}
	return nil
}

// writeSkeleton writes the image: the folders that programs expect, and the machine's links
// to folders, such as /bin to /usr/bin.
func writeSkeleton(w io.Writer) error {
	archive := tar.NewWriter(w)
	for _, folder := range []string{"dev", "etc", "proc", "run", "sys", "tmp", "var", "var/tmp"} {
		mode := int64(0o755)
		if filepath.Base(folder) == "tmp" {
			mode = 0o1777
		}
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: mode}); err != nil {
			return err
		}
	}
	for _, path := range machinePaths {
		if target := linkTarget(path); target != "" && filepath.Dir(path) == "/" {
			if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: strings.TrimPrefix(path, "/"), Linkname: target, Mode: 0o777}); err != nil {
				return err
			}
		}
	}
	return archive.Close()
}
