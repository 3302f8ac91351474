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
	// engineTime bounds what the container engine is asked for; it answers in a second.
	engineTime = time.Minute
	// image is of containers: folders, and what stands in them is mounted.
	image = "techtalks-drill-host:1"
	// holder is the program that a container runs that does nothing.
	holder = "sh"
	// sharedMemory is that of a process: Postgres puts what parallel workers share there.
	sharedMemory = "256m"
)

// ofMachine is what a container sees of this machine, for reading: its programs, and of
// its configuration what they do not start without. What a machine has none of is left out.
var ofMachine = []string{
	"/usr", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64",
	"/etc/alternatives", "/etc/group", "/etc/ld.so.cache", "/etc/localtime", "/etc/nsswitch.conf", "/etc/passwd",
	"/etc/perl", "/etc/postgresql-common", "/etc/ssl",
}

// container is where a host's processes run: a container that does nothing holds its
// namespaces, and each process is a container that shares its network and process ids.
type container struct {
	name   string
	pid    int      // of the process that does nothing
	mounts []string // arguments of "docker run"
}

func engine(arguments ...string) (string, error) {
	ctx, done := context.WithTimeout(context.Background(), engineTime)
	defer done()
	command := exec.CommandContext(ctx, "docker", arguments...)
	var said bytes.Buffer
	command.Stderr = &said
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", arguments[0], err, strings.TrimSpace(said.String()))
	}
	return strings.TrimSpace(string(output)), nil
}

// hold starts the container that holds a host's namespaces; network is the file in
// /run/netns that its network becomes.
func hold(name, hostname, network string, mounts []string) (_ *container, err error) {
	c := &container{name: name, mounts: mounts}
	arguments := append([]string{"run", "--detach", "--rm", "--name", name, "--hostname", hostname, "--network", "none", "--log-driver", "none"}, mounts...)
	// It waits for whatever is orphaned, as a host's init does: a process that was killed
	// would be there for ever otherwise, and Postgres waits for the one before it.
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
	if err := c.isHere(); err != nil {
		return nil, err
	}
	return c, ip("netns", "attach", network, pid)
}

// isHere waits until the container's process has become the program that it is to run. An
// engine in a virtual machine has process ids of its own, which say nothing here.
func (c *container) isHere() error {
	var what []byte
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if what, _ = os.ReadFile(fmt.Sprintf("/proc/%d/comm", c.pid)); string(what) == holder+"\n" {
			return nil
		}
	}
	return fmt.Errorf("process %d of the container engine is not among this machine's: there it is %q", c.pid, what)
}

func (c *container) remove() error {
	_, err := engine("rm", "--force", c.name)
	return err
}

// run returns a command that is a process of its own in the container, and ends when that
// does, with its exit code. A signal that asks it to stop is passed on.
func (c *container) run(process string, settings []string, program string, arguments []string) *exec.Cmd {
	all := append([]string{"run", "--rm", "--name", c.processName(process), "--network", "container:" + c.name, "--pid", "container:" + c.name, "--shm-size", sharedMemory, "--log-driver", "none"}, c.mounts...)
	for _, s := range settings {
		all = append(all, "--env", s)
	}
	return exec.Command("docker", append(append(all, image, program), arguments...)...)
}

func (c *container) processName(process string) string { return c.name + "-" + process }

// kill kills a process that run started, and what that started; one that has ended is left.
func (c *container) kill(process string) { _, _ = engine("kill", c.processName(process)) }

// enter returns the arguments of nsenter(1) before a program's, to run it in the container
// without the second that a container of its own takes.
func (c *container) enter() []string {
	return []string{"--target", strconv.Itoa(c.pid), "--mount", "--uts", "--ipc", "--net", "--pid"}
}

// mounts are the arguments of "docker run" by which a container sees the machine's
// programs, names of hosts, and folders at the same paths.
func mounts(names string, read, write []string) (all []string) {
	for _, path := range append(present(ofMachine), read...) {
		all = append(all, "--volume", path+":"+path+":ro")
	}
	for _, path := range write {
		all = append(all, "--volume", path+":"+path)
	}
	return append(all, "--volume", names+":/etc/hosts:ro")
}

// present returns those paths that are there; folders that are links are in the image.
func present(paths []string) (there []string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || (info.IsDir() && link(path) != "") {
			continue
		}
		there = append(there, path)
	}
	return there
}

func link(path string) string {
	to, err := os.Readlink(path)
	if err != nil {
		return ""
	}
	return to
}

// importImage has the engine hold the image, where it does not yet.
func importImage() error {
	if _, err := engine("image", "inspect", image); err == nil {
		return nil
	}
	var skeleton bytes.Buffer
	if err := writeSkeleton(&skeleton); err != nil {
		return err
	}
	ctx, done := context.WithTimeout(context.Background(), engineTime)
	defer done()
	command := exec.CommandContext(ctx, "docker", "import", "-", image)
	command.Stdin = &skeleton
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("docker import: %w: %s", err, output)
	}
	return nil
}

// writeSkeleton writes an archive of the folders that programs expect, and of those that
// are links on this machine, as /bin into /usr.
func writeSkeleton(to io.Writer) error {
	archive := tar.NewWriter(to)
	for _, folder := range []string{"dev", "etc", "proc", "run", "sys", "tmp", "var", "var/tmp"} {
		mode := int64(0o755)
		if filepath.Base(folder) == "tmp" {
			mode = 0o1777
		}
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: mode}); err != nil {
			return err
		}
	}
	for _, path := range ofMachine {
		if to := link(path); to != "" && filepath.Dir(path) == "/" {
			if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: strings.TrimPrefix(path, "/"), Linkname: to, Mode: 0o777}); err != nil {
				return err
			}
		}
	}
	return archive.Close()
}
