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

// minMajor is the first major version with every feature in use here.
const minMajor = 15

// binaries locates the programs of one Postgres installation.
type binaries struct {
	directory string
	major     int
}

func (b binaries) path(program string) string { return filepath.Join(b.directory, program) }

// findBinaries returns the installation in directory, or the newest on this
// machine if directory is empty. If dataMajor is not 0, only an installation of
// that major version qualifies.
func findBinaries(directory string, dataMajor int) (binaries, error) {
	candidates := []string{directory}
	if directory == "" {
		candidates, _ = filepath.Glob("/usr/lib/postgresql/*/bin") // Debian and its derivatives
		if program, err := exec.LookPath("postgres"); err == nil {
			if resolved, err := filepath.EvalSymlinks(program); err == nil {
				candidates = append(candidates, filepath.Dir(resolved))
			}
		}
	}
	var newest binaries
	var installed []string
	for _, candidate := range candidates {
		major, err := majorOf(filepath.Join(candidate, "postgres"))
		if err != nil {
			continue
		}
		installed = append(installed, fmt.Sprintf("%d in %s", major, candidate))
		if major >= minMajor && major > newest.major && (dataMajor == 0 || major == dataMajor) {
			newest = binaries{candidate, major}
		}
	}
	found := "none"
	if len(installed) > 0 {
		found = strings.Join(installed, ", ")
	}
	switch {
	case newest.major != 0:
		return newest, nil
	case dataMajor != 0:
		return newest, fmt.Errorf("the data directory was written by Postgres %d (found: %s): install Postgres %d (Debian: postgresql-%d), or migrate the data with pg_upgrade",
			dataMajor, found, dataMajor, dataMajor)
	default:
		return newest, fmt.Errorf("no Postgres from version %d (found: %s): install it (Debian: apt-get install postgresql), or set --binaries (BINARIES) to its directory", minMajor, found)
	}
}

var version = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

func majorOf(program string) (int, error) {
	output, err := exec.Command(program, "--version").Output()
	if err != nil {
		return 0, err
	}
	match := version.FindSubmatch(output)
	if match == nil {
		return 0, errors.New("prints no version")
	}
	return strconv.Atoi(string(match[1]))
}

// writtenBy returns the major version that wrote a data directory, or 0 if the
// directory holds no data yet.
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
