// Package cluster runs Postgres from the binaries of the machine it is on, in a
// data directory of its own, never as root: the same way on a workstation, on a
// server and as a container's entrypoint.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// Options says what to run and where.
type Options struct {
	// Directory is the data directory; made when it is not there.
	Directory string
	// Address is the host:port to answer on.
	Address string
	// Certificates is the directory with ca.crt, data-tier.crt, data-tier.key.
	Certificates string
	// Binaries is the directory of postgres and initdb; found when empty.
	Binaries string
	// Archive is the directory that finished WAL is copied to; empty: none.
	Archive string
	// StandbyOf is the host:port of the primary that this one follows as a hot
	// standby; empty: none. Partner is the host:port of the one that may have
	// been promoted in this one's place; empty: the one of StandbyOf, if any.
	StandbyOf, Partner string
	// Configuration, Access and Identities are postgresql.conf, pg_hba.conf and
	// pg_ident.conf.
	Configuration, Access, Identities []byte
}

// Cluster is a data directory, held for this process.
type Cluster struct {
	options    Options
	log        *slog.Logger
	binaries   binaries
	account    account
	host, port string
	socket     string
	lock       *os.File // see hold
	serverLock *os.File // see hold
	standby    bool     // it starts as a standby, and was not promoted since
	following  bool     // a standby receives WAL, when last seen
	archived   archiveState
	refused    error // why others refuse the certificate, when it was last read
}

// Open takes hold of the data directory, making it when it is not there. The
// hold ends with the process.
func Open(ctx context.Context, o Options, log *slog.Logger) (*Cluster, error) {
	var err error
	if o.Directory, err = filepath.Abs(o.Directory); err != nil {
		return nil, err
	}
	c := &Cluster{options: o, log: log}
	if c.host, c.port, err = splitAddress("--listen-address (LISTEN_ADDRESS)", o.Address); err != nil {
		return nil, err
	}
	for flag, address := range map[string]string{"--standby-of (STANDBY_OF)": o.StandbyOf, "--partner (PARTNER)": o.Partner} {
		if address == "" {
			continue
		}
		if _, _, err := splitAddress(flag, address); err != nil {
			return nil, err
		}
	}
	if c.host == "" {
		c.host = "*"
	}
	if c.port == "0" {
		if c.port, err = freePort(c.host, c.port); err != nil {
			return nil, addressError(o.Address, err)
		}
	}
	written, err := writtenBy(o.Directory)
	if err != nil {
		return nil, fmt.Errorf("--data-directory (DATA_DIRECTORY) %s: %w: use one that is empty, or that Postgres made", o.Directory, err)
	}
	if err := c.take(ctx, written); err != nil {
		return nil, err
	}
	if _, err := os.Stat(o.Directory + rewindMark); err == nil {
		return nil, fmt.Errorf("a rejoin of %s was interrupted, and what is in it is of no use: remove it and %s; with --standby-of (STANDBY_OF) it is copied anew",
			o.Directory, o.Directory+rewindMark)
	}
	if err := c.makeArchive(); err != nil {
		return nil, err
	}
	if written != 0 {
		if err := c.configure(); err != nil {
			return nil, err
		}
		return c, c.joins(ctx)
	}
	if err := c.mayBegin(); err != nil {
		return nil, err
	}
	if o.StandbyOf != "" {
		err = c.copyPrimary(ctx)
	} else {
		err = c.initialise(ctx)
	}
	if err != nil {
		return nil, err
	}
	return c, c.configure()
}

// mayBegin refuses a directory that is not empty, and one that a restore was to
// fill: it would begin with nothing where all is expected.
func (c *Cluster) mayBegin() error {
	if left, err := os.ReadDir(c.options.Directory); err == nil && len(left) > 0 {
		return fmt.Errorf("%s is not empty and holds no Postgres data: use another --data-directory (DATA_DIRECTORY)", c.options.Directory)
	}
	if _, err := os.Stat(c.options.Directory + restoring); err == nil {
		return fmt.Errorf("a restore into %s was interrupted: run data-tier restore again, or remove %s to begin without data",
			c.options.Directory, c.options.Directory+restoring)
	}
	return nil
}

// take finds what runs the directory, which written wrote (0: none yet), and
// holds it.
func (c *Cluster) take(ctx context.Context, written int) error {
	var err error
	if c.account, err = serverAccount(); err != nil {
		return err
	}
	if c.binaries, err = findBinaries(c.options.Binaries, written); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.options.Directory), 0o755); err != nil {
		return fmt.Errorf("--data-directory (DATA_DIRECTORY): %w: use a folder that can be made", err)
	}
	if err := c.account.reaches(c.options.Directory); err != nil {
		return err
	}
	return c.hold(ctx)
}

// initialise makes the data directory, whole or not at all.
func (c *Cluster) initialise(ctx context.Context) error {
	began := time.Now()
	made := c.options.Directory + ".new"
	if err := c.makeEmpty(made); err != nil {
		return err
	}
	if _, err := c.tool(ctx, "initdb", "--pgdata", made, "--username", "postgres",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums", "--auth", "reject"); err != nil {
		return err
	}
	if err := os.RemoveAll(c.options.Directory); err != nil {
		return err
	}
	if err := os.Rename(made, c.options.Directory); err != nil {
		return err
	}
	c.log.Info("data directory made", "directory", c.options.Directory, "postgres", c.binaries.major, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// configure writes the configuration and certificates. Nobody is let in from
// the network yet.
func (c *Cluster) configure() error {
	var err error
	if c.socket, err = socketDirectory(c.options.Directory); err != nil {
		return err
	}
	for _, folder := range []string{c.socket, c.certificates()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		if err := c.account.own(folder); err != nil {
			return err
		}
	}
	me, err := user.Current()
	if err != nil {
		return err
	}
	identities := append(bytes.TrimRight(c.options.Identities, "\n"), fmt.Sprintf("\nsetup       %-17s postgres\n", me.Username)...)
	if c.account.other {
		identities = fmt.Appendf(identities, "setup       %-17s postgres\n", c.account.name)
	}
	closed, _, found := bytes.Cut(c.options.Access, []byte("# From the logic tier"))
	if !found {
		return errors.New(`pg_hba.conf lacks the line "# From the logic tier" behind what is for this host alone`)
	}
	for name, content := range map[string][]byte{"postgresql.conf": c.options.Configuration, "pg_hba.conf": closed, "pg_ident.conf": identities} {
		if err := c.write(name, content); err != nil {
			return err
		}
	}
	_, err = c.copyCertificates(c.certificates())
	return err
}

// has says whether the data directory has a file.
func (c *Cluster) has(name string) bool {
	_, err := os.Stat(filepath.Join(c.options.Directory, name))
	return err == nil
}

// forget removes files of the data directory that are there.
func (c *Cluster) forget(names ...string) error {
	for _, name := range names {
		if err := os.Remove(filepath.Join(c.options.Directory, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// write replaces a file of the data directory, at once.
func (c *Cluster) write(name string, content []byte) error {
	return c.replace(filepath.Join(c.options.Directory, name), content)
}

// replace replaces a file that only the account may read, at once.
func (c *Cluster) replace(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	if err := c.account.own(path + ".new"); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// makeEmpty makes a folder of the account's, in the place of what is there.
func (c *Cluster) makeEmpty(folder string) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	return c.account.own(folder)
}

// renameSynced renames a folder; once it returns, also a power cut leaves it so.
func renameSynced(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync()
}

// arguments are what depends on the host.
func (c *Cluster) arguments() []string {
	name, _ := os.Hostname()
	return []string{
		"-D", c.options.Directory,
		"-c", "listen_addresses=" + c.host,
		"-c", "port=" + c.port,
		"-c", "unix_socket_directories=" + c.socket,
		"-c", "unix_socket_permissions=0700",
		"-c", "cluster_name=" + name[:min(len(name), 63)],
	}
}

func splitAddress(flag, address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if _, notOne := strconv.ParseUint(port, 10, 16); err != nil || notOne != nil {
		return "", "", fmt.Errorf("%s %q: use host:port, with a port up to 65535", flag, address)
	}
	return host, port, nil
}

func addressError(address string, err error) error {
	return fmt.Errorf("--listen-address (LISTEN_ADDRESS) %s: %w: use host:port, an address of this host and a port that nothing else there listens on", address, err)
}

// freePort returns the port when nothing listens on it, and a free one for 0.
func freePort(host, port string) (string, error) {
	if host == "*" {
		host = ""
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}
