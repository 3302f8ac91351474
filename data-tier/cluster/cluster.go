// Package cluster runs Postgres from the binaries installed on the host, in its
// own data directory and never as root: the same way on a workstation, on a server
// and as a container's entrypoint.
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

// Options configures a Cluster.
type Options struct {
	// Directory is the data directory; created if it does not exist.
	Directory string
	// Address is the host:port to listen on.
	Address string
	// Certificates is the directory with ca.crt, data-tier.crt, data-tier.key.
	Certificates string
	// Binaries is the directory of postgres and initdb; if empty, they are searched for.
	Binaries string
	// Archive is the directory of the WAL archive; if empty, WAL is not archived.
	Archive string
	// StandbyOf is the host:port of the primary that this server follows as a hot
	// standby; empty for a primary.
	StandbyOf string
	// Partner is the host:port of a server that may have been promoted in place
	// of this one; if empty, StandbyOf, if that is set.
	Partner string
	// Configuration, Access and Identities are postgresql.conf, pg_hba.conf and
	// pg_ident.conf.
	Configuration, Access, Identities []byte
}

// Cluster is a data directory locked by this process.
type Cluster struct {
	options    Options
	log        *slog.Logger
	binaries   binaries
	account    account
	host, port string
	socket     string
	lock       *os.File // see acquire
	serverLock *os.File // see acquire
	standby    bool     // started as a standby and not promoted since
	following  bool     // the standby was receiving WAL when last checked
	archived   archiveState

	certificateErr error // why peers reject the certificate last read, or nil
}

// Open locks the data directory until this process exits, and creates it if it
// does not exist.
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
	major, err := writtenBy(o.Directory)
	if err != nil {
		return nil, fmt.Errorf("--data-directory (DATA_DIRECTORY) %s: %w: use one that is empty, or that Postgres created", o.Directory, err)
	}
	if err := c.prepare(ctx, major); err != nil {
		return nil, err
	}
	if _, err := os.Stat(o.Directory + rewindSuffix); err == nil {
		return nil, fmt.Errorf("a rejoin of %s was interrupted, and its data is unusable: remove it and %s; with --standby-of (STANDBY_OF) it is copied again",
			o.Directory, o.Directory+rewindSuffix)
	}
	if err := c.createArchive(); err != nil {
		return nil, err
	}
	if major != 0 {
		if err := c.configure(); err != nil {
			return nil, err
		}
		return c, c.chooseRole(ctx)
	}
	if err := c.checkEmpty(); err != nil {
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

// checkEmpty returns an error if the data directory is not empty, or if a restore
// into it was interrupted: a new database must not take the place of lost data.
func (c *Cluster) checkEmpty() error {
	if entries, err := os.ReadDir(c.options.Directory); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty and holds no Postgres data: use another --data-directory (DATA_DIRECTORY)", c.options.Directory)
	}
	if _, err := os.Stat(c.options.Directory + restoringSuffix); err == nil {
		return fmt.Errorf("a restore into %s was interrupted: run data-tier restore again, or remove %s to start without data",
			c.options.Directory, c.options.Directory+restoringSuffix)
	}
	return nil
}

// prepare determines the account and the binaries that run the data directory,
// and locks it. major is the version that wrote it, or 0 if it is empty.
func (c *Cluster) prepare(ctx context.Context, major int) error {
	var err error
	if c.account, err = serverAccount(); err != nil {
		return err
	}
	if c.binaries, err = findBinaries(c.options.Binaries, major); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.options.Directory), 0o755); err != nil {
		return fmt.Errorf("--data-directory (DATA_DIRECTORY): %w: use a folder that can be created", err)
	}
	if err := c.account.checkAccess(c.options.Directory); err != nil {
		return err
	}
	return c.acquire(ctx)
}

// initialise creates the data directory atomically.
func (c *Cluster) initialise(ctx context.Context) error {
	began := time.Now()
	unfinished := c.options.Directory + ".new"
	if err := c.createEmpty(unfinished); err != nil {
		return err
	}
	if _, err := c.tool(ctx, "initdb", "--pgdata", unfinished, "--username", "postgres",
		"--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums", "--auth", "reject"); err != nil {
		return err
	}
	if err := os.RemoveAll(c.options.Directory); err != nil {
		return err
	}
	if err := os.Rename(unfinished, c.options.Directory); err != nil {
		return err
	}
	c.log.Info("data directory created", "directory", c.options.Directory, "postgres", c.binaries.major, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// configure writes the configuration and the certificates. The access rules that
// it writes do not admit the logic tier yet.
func (c *Cluster) configure() error {
	var err error
	if c.socket, err = socketDirectory(c.options.Directory); err != nil {
		return err
	}
	for _, folder := range []string{c.socket, c.certificates()} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		if err := c.account.chown(folder); err != nil {
			return err
		}
	}
	current, err := user.Current()
	if err != nil {
		return err
	}
	identities := append(bytes.TrimRight(c.options.Identities, "\n"), fmt.Sprintf("\nsetup       %-17s postgres\n", current.Username)...)
	if c.account.switched {
		identities = fmt.Appendf(identities, "setup       %-17s postgres\n", c.account.name)
	}
	closed, _, found := bytes.Cut(c.options.Access, []byte("# From the logic tier"))
	if !found {
		return errors.New(`pg_hba.conf lacks the line "# From the logic tier" that ends the rules for this host and its partners`)
	}
	for name, content := range map[string][]byte{"postgresql.conf": c.options.Configuration, "pg_hba.conf": closed, "pg_ident.conf": identities} {
		if err := c.write(name, content); err != nil {
			return err
		}
	}
	_, err = c.copyCertificates(c.certificates())
	return err
}

// has reports whether the data directory contains a file.
func (c *Cluster) has(name string) bool {
	_, err := os.Stat(filepath.Join(c.options.Directory, name))
	return err == nil
}

// remove removes files from the data directory; missing files are ignored.
func (c *Cluster) remove(names ...string) error {
	for _, name := range names {
		if err := os.Remove(filepath.Join(c.options.Directory, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// write replaces a file in the data directory atomically.
func (c *Cluster) write(name string, content []byte) error {
	return c.replace(filepath.Join(c.options.Directory, name), content)
}

// replace replaces a file atomically; only the account can read it.
func (c *Cluster) replace(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	if err := c.account.chown(path + ".new"); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// createEmpty creates an empty folder owned by the account, replacing whatever
// has that name.
func (c *Cluster) createEmpty(folder string) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	return c.account.chown(folder)
}

// renameSynced renames a folder durably: once it returns, the new name survives a
// power failure.
func renameSynced(oldPath, newPath string) error {
	if err := os.Rename(oldPath, newPath); err != nil {
		return err
	}
	parent, err := os.Open(filepath.Dir(newPath))
	if err != nil {
		return err
	}
	defer parent.Close()
	return parent.Sync()
}

// arguments returns the settings of Postgres that depend on the host.
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
	if _, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil {
		return "", "", fmt.Errorf("%s %q: use host:port, with a port up to 65535", flag, address)
	}
	return host, port, nil
}

func addressError(address string, err error) error {
	return fmt.Errorf("--listen-address (LISTEN_ADDRESS) %s: %w: use host:port, an address of this host and a port that nothing else there listens on", address, err)
}

// freePort returns port if nothing listens on it, or a free port if it is 0.
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
