// Package checks tests the checks of "make test" and "make verify" with what they must
// refuse: a check that cannot fail proves nothing.
package checks

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"techtalks.example/deployments/source"
)

// clone returns a clone of the repository with the contracts and pages as they are in the
// working tree.
func clone(t *testing.T) string {
	t.Helper()
	tree, err := source.Tree()
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("git", "-C", tree, "rev-parse", "HEAD").Run(); err != nil {
		t.Skip("the source tree is not a git clone, so there is no last release to compare with")
	}
	at := filepath.Join(t.TempDir(), "clone")
	if output, err := exec.CommandContext(t.Context(), "git", "clone", "--quiet", "--no-hardlinks", tree, at).CombinedOutput(); err != nil {
		t.Fatalf("git clone: %v\n%s", err, output)
	}
	for _, folder := range []string{"proto", "web-tier/pages"} {
		if err := os.RemoveAll(filepath.Join(at, folder)); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(filepath.Join(at, folder), os.DirFS(filepath.Join(tree, folder))); err != nil {
			t.Fatal(err)
		}
	}
	return at
}

// replace edits a file; pattern must match in it.
func replace(t *testing.T, file, pattern, with string) {
	t.Helper()
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(pattern).FindIndex(before)
	if match == nil {
		t.Fatalf("%s has no match of %s", file, pattern)
	}
	after := string(before[:match[0]]) + with + string(before[match[1]:])
	if err := os.WriteFile(file, []byte(after), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGeneratedCodeCheckRefusesMistakes(t *testing.T) {
	at := clone(t)
	contract := filepath.Join(at, "proto/techtalks/following/v1/following.proto")
	for _, c := range []struct {
		name, file, pattern, with, script, want string
	}{
		{"a contract that breaks its callers", contract, `string channel = 1`, `string channel = 99`, "proto/generate.sh", `[Ff]ield "1" .*was deleted`},
		{"stale code of a contract", filepath.Join(at, "proto/techtalks/following/v1/following.pb.go"), `package followingpb`, "package followingpb\n\n// stale", "proto/generate.sh", "stale: proto/"},
		{"stale code of a page", filepath.Join(at, "web-tier/pages/home/page_templ.go"), `package home`, "package home\n\n// stale", "web-tier/generate.sh", "stale: web-tier/pages"},
	} {
		t.Run(c.name, func(t *testing.T) {
			intact, err := os.ReadFile(c.file)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := os.WriteFile(c.file, intact, 0o644); err != nil {
					t.Fatal(err)
				}
			}()
			replace(t, c.file, c.pattern, c.with)
			output, err := exec.CommandContext(t.Context(), filepath.Join(at, c.script), "--check").CombinedOutput()
			if err == nil || !regexp.MustCompile(c.want).Match(output) {
				t.Errorf("%s --check: %v, want a match of %q in\n%s", c.script, err, c.want, output)
			}
		})
	}
}

// The runner is given a plan whose every step fails in another way.
func TestRunnerReportsEveryFailureWithItsCommand(t *testing.T) {
	tree, err := source.Tree()
	if err != nil {
		t.Fatal(err)
	}
	at := t.TempDir()
	if err := os.CopyFS(filepath.Join(at, "deployments/checks"), os.DirFS(filepath.Join(tree, "deployments/checks"))); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"deployments/checks/test.sh": "beside aside sh -c 'echo spilt ink; exit 1'\nstep good true\nstep bad sh -c 'echo broken pipe of straw; exit 1'\nstep absent sh -c 'echo no such tool; exit 77'\ntests sample -short\nawait_beside\n",
		"sample/go.mod":              "module sample\n\ngo 1.26\n",
		"sample/one/one_test.go":     "package one\n\nimport \"testing\"\n\nfunc TestGood(t *testing.T) {}\n\nfunc TestBad(t *testing.T) { t.Run(\"inner\", func(t *testing.T) { t.Error(\"as expected\") }) }\n",
		"sample/two/two_test.go":     "package two\n\nimport \"testing\"\n\nfunc TestUnbuilt(t *testing.T) { undefined() }\n",
		"sample/three/three_test.go": "package three\n\nimport \"testing\"\n\nfunc TestMain(m *testing.M) { panic(\"no tier\") }\n",
		"sample/four/four_test.go":   "package four\n\nimport \"testing\"\n\nfunc TestFine(t *testing.T) { t.Log(\"chatter\") }\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(at, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	output, err := exec.CommandContext(t.Context(), filepath.Join(at, "deployments/checks/run.sh"), "test").CombinedOutput()
	if err == nil {
		t.Error("the runner exits with 0")
	}
	said := string(output)
	for _, want := range []string{
		"✓  good", "✖  bad", "broken pipe of straw", "absent: skipped: no such tool", "as expected",
		"  bad: sh -c", "✖  aside", "spilt ink", "  aside: sh -c",
		"  cd sample && GOWORK=off go test -count=1 -short -run '^TestBad$' sample/one\n",
		"  cd sample && GOWORK=off go test -count=1 -short sample/two\n",
		"  cd sample && GOWORK=off go test -count=1 -short sample/three\n",
		"\n3 passed, 5 failed\n",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("no %q in\n%s", want, said)
		}
	}
	if strings.Contains(said, "chatter") {
		t.Errorf("it prints the log of a test that passed:\n%s", said)
	}
}

func TestLanguageCheckFindsPhrases(t *testing.T) {
	at := clone(t)
	check := func() (string, error) {
		output, err := exec.CommandContext(t.Context(), filepath.Join(at, "deployments/checks/language.sh")).CombinedOutput()
		return string(output), err
	}
	if output, err := check(); err != nil {
		t.Fatalf("it refuses the last commit: %v\n%s", err, output)
	}
	page := filepath.Join(at, "web-tier/pages/home/handler.go")
	replace(t, page, `(?m)^package home$`, "// some"+"body's first page is made an"+"ew\npackage home")
	if output, err := check(); err == nil || !strings.Contains(output, "web-tier/pages/home/handler.go:") || !strings.Contains(output, "write: again") {
		t.Errorf("it accepts a riddle: %v\n%s", err, output)
	}
}
