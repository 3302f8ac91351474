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

// account is the operating system's user that Postgres runs as. It refuses to
// run as root: a hole in it would be a hole in the host.
type account struct {
	uid, gid int
	name     string
	other    bool // not the one that runs this program
}

// serverAccount returns the user that runs this program, or one without rights
// when that is root.
func serverAccount() (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{uid: uid, gid: os.Getegid()}, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(found.Uid)
		if err != nil {
			return account{}, err
		}
		gid, err := strconv.Atoi(found.Gid)
		return account{uid: uid, gid: gid, name: name, other: true}, err
	}
	return account{}, errors.New(`Postgres does not run as root, and there is no user "postgres" or "nobody" to run it as: make one, or run this program as another user`)
}

// become makes a command run as the account, and end with this program: the
// kernel sends it a signal when the thread that started it ends. The caller
// must therefore hold on to its thread until the command has ended.
func (a account) become(c *exec.Cmd, whenOrphaned syscall.Signal) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: whenOrphaned, Setpgid: true}
	if a.other {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
}

// own gives a file or folder to the account.
func (a account) own(path string) error {
	if !a.other {
		return nil
	}
	return os.Chown(path, a.uid, a.gid)
}

// reaches says whether the account may enter every folder above path.
func (a account) reaches(path string) error {
	if !a.other {
		return nil
	}
	for folder := filepath.Dir(path); ; folder = filepath.Dir(folder) {
		info, err := os.Stat(folder)
		if err != nil {
			return err
		}
		if s, ok := info.Sys().(*syscall.Stat_t); ok {
			may := info.Mode()&0o001 != 0 || int(s.Gid) == a.gid && info.Mode()&0o010 != 0 || int(s.Uid) == a.uid && info.Mode()&0o100 != 0
			if !may {
				return fmt.Errorf("Postgres runs as the user %q, which may not enter %s on the way to %s: choose another --data-directory (DATA_DIRECTORY; for make up: RUN_DIR), or allow it with chmod o+x %s",
					a.name, folder, path, folder)
			}
		}
		if folder == filepath.Dir(folder) {
			return nil
		}
	}
}
