package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// oldest is the first major version that has all we use.
const oldest = 15

// binaries are the programs of one Postgres installation.
type binaries struct {
	directory string
	major     int
}

func (b binaries) path(program string) string { return filepath.Join(b.directory, program) }

// findBinaries returns the installation in directory, or else the newest on
// this machine; of the major version that data was written by, when it is not 0.
func findBinaries(directory string, written int) (binaries, error) {
	places := []string{directory}
	if directory == "" {
		places, _ = filepath.Glob("/usr/lib/postgresql/*/bin") // Debian and those like it
		if found, err := exec.LookPath("postgres"); err == nil {
			if real, err := filepath.EvalSymlinks(found); err == nil {
				places = append(places, filepath.Dir(real))
			}
		}
	}
	var best binaries
	var found []string
	for _, place := range places {
		major, err := majorOf(filepath.Join(place, "postgres"))
		if err != nil {
			continue
		}
		found = append(found, fmt.Sprintf("%d in %s", major, place))
		if major >= oldest && major > best.major && (written == 0 || major == written) {
			best = binaries{place, major}
		}
	}
	switch {
	case best.major != 0:
		return best, nil
	case written != 0:
		return best, fmt.Errorf("the data were written by Postgres %d, and there is %s: install Postgres %d (Debian: postgresql-%d), or move the data with pg_upgrade",
			written, orNone(found), written, written)
	default:
		return best, fmt.Errorf("no Postgres from version %d (there is %s): install it (Debian: apt-get install postgresql), or say with --binaries (BINARIES) where it is", oldest, orNone(found))
	}
}

func orNone(found []string) string {
	if len(found) == 0 {
		return "none"
	}
	return strings.Join(found, ", ")
}

var version = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func majorOf(program string) (int, error) {
	output, err := exec.Command(program, "--version").Output()
	if err != nil {
		return 0, err
	}
	match := version.FindSubmatch(output)
	if match == nil {
		return 0, errors.New("says no version")
	}
	return strconv.Atoi(string(match[1]))
}

// writtenBy returns the major version that wrote a data directory; 0 when there
// is none yet.
func writtenBy(directory string) (int, error) {
	text, err := os.ReadFile(filepath.Join(directory, "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}
