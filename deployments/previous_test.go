package deployments

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"techtalks.example/deployments/source"
)

// A rolling update replaces the data tier first, so that the previous logic tier runs on the new
// schema until its last process is replaced. Its own tests must pass there.
func TestPreviousLogicTierPassesItsTestsOnNewSchema(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	tree, err := source.Tree()
	if err != nil {
		t.Fatal(err)
	}
	git := func(arguments ...string) (string, error) {
		output, err := exec.CommandContext(t.Context(), "git", append([]string{"-c", "safe.directory=*", "-C", tree}, arguments...)...).Output()
		return strings.TrimSpace(string(output)), err
	}
	changed, err := git("log", "-1", "--format=%H", "--", "data-tier/schema")
	if err != nil || changed == "" {
		t.Skip("the source tree is not a git clone: the logic tier before the newest schema is unknown")
	}
	previous, err := git("rev-parse", "--verify", "--quiet", changed+"^")
	if err != nil {
		t.Skip("the clone has no history before the newest schema: git fetch --unshallow")
	}

	// The previous source tree with the current data tier.
	before := t.TempDir()
	unpack := exec.CommandContext(t.Context(), "sh", "-c", `git -C "$0" archive "$1" | tar -x -C "$2"`, tree, previous, before)
	if output, err := unpack.CombinedOutput(); err != nil {
		t.Fatalf("unpack %s: %v: %s", previous, err, output)
	}
	data := filepath.Join(before, "data-tier")
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(filepath.Join(tree, "data-tier"))); err != nil {
		t.Fatal(err)
	}
	run := func(arguments ...string) (string, error) {
		command := exec.CommandContext(t.Context(), "go", arguments...)
		command.Dir = filepath.Join(before, "logic-tier")
		command.Env = append(os.Environ(), "GOWORK=off")
		output, err := command.CombinedOutput()
		return string(output), err
	}
	// Test the modules whose schema differs, and always talks. The queue's engines share one
	// schema.
	differs, err := git("diff", "--name-only", previous, "HEAD", "--", "data-tier/schema")
	if err != nil {
		t.Fatal(err)
	}
	wanted := []string{"talks"}
	for changed := range strings.FieldsSeq(differs) {
		if module := path.Base(path.Dir(changed)); module == "queue" {
			wanted = append(wanted, "postgresqueue", "inspection")
		} else if module != "schema" {
			wanted = append(wanted, module)
		}
	}
	listed, err := run("list", "./...")
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, listed)
	}
	var packages []string
	for name := range strings.FieldsSeq(listed) { // wherever the package was then
		if slices.Contains(wanted, path.Base(name)) {
			packages = append(packages, name)
		}
	}
	output, err := run(append([]string{"test", "-short", "-count=1", "-timeout=10m"}, packages...)...)
	if err != nil {
		t.Errorf("the logic tier of %s on the current schema: %v\n%s", previous[:10], err, output)
	}
	if !regexp.MustCompile(`(?m)^ok  \ttechtalks\.example/logic-tier/\S*talks\t`).MatchString(output) {
		t.Errorf("no test of the talks module passed:\n%s", output)
	}
}
