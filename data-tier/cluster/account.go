package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the operating system user that runs Postgres. Postgres refuses to
// run as root.
type account struct {
	uid, gid int
	name     string
	switched bool // differs from the user that runs this program
}

// serverAccount returns the user that runs this program, or an unprivileged
// user if that is root.
func serverAccount() (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{uid: uid, gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return account{}, err
		}
		gid, err := strconv.Atoi(u.Gid)
		return account{uid: uid, gid: gid, name: name, switched: true}, err
	}
	return account{}, errors.New(`Postgres does not run as root, and the users "postgres" and "nobody" do not exist: create one, or run this program as another user`)
}

// configure makes a command run as the account and exit with this program: the
// kernel sends it orphanSignal when the thread that started it exits (prctl(2),
// PR_SET_PDEATHSIG). The caller must therefore keep its thread locked until the
// command has exited.
func (a account) configure(c *exec.Cmd, orphanSignal syscall.Signal) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: orphanSignal, Setpgid: true}
	if a.switched {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
}

// chown makes the account the owner of a file or folder.
func (a account) chown(path string) error {
	if !a.switched {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// checkAccess returns an error if the account cannot enter every folder above path.
func (a account) checkAccess(path string) error {
	if !a.switched {
		return nil
	}
	for folder := filepath.Dir(path); ; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			canEnter := info.Mode()&0o001 != 0 || int(s.Gid) == a.gid && info.Mode()&0o010 != 0 || int(s.Uid) == a.uid && info.Mode()&0o100 != 0
			if !canEnter {
				return fmt.Errorf("Postgres runs as the user %q, which cannot enter %s on the path to %s: choose another --data-directory (DATA_DIRECTORY; for make up: RUN_DIR), or run chmod o+x %s",
					a.name, folder, path, folder)
			}
		}
		if folder == filepath.Dir(folder) {
			return nil
		}
	}
}
