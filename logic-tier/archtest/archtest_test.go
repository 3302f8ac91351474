// Package archtest fails when a wall of the logic tier is crossed. The walls are
// what lets a module move to a process of its own.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const tier = "techtalks.example/logic-tier/"

// shared are the packages that modules may use: none of them knows a module.
var shared = []string{"caller", "failure", "page", "postgres", "queue", "work"}

// file is a source file that is no test.
type file struct {
	folder, name string // folder below the tier's: "talks", "" for the program
	syntax       *ast.File
	set          *token.FileSet
}

func (f file) String() string { return path.Join(f.folder, f.name) }

func (f file) imports() (all []string) {
	for _, spec := range f.syntax.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic(err)
		}
		all = append(all, name)
	}
	return all
}

// texts returns the string literals, with where they are.
func (f file) texts() map[string]string {
	all := map[string]string{}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				all[f.set.Position(literal.Pos()).String()] = text
			}
		}
		return true
	})
	return all
}

// sources parses the tier.
func sources(t *testing.T) (all []file) {
	t.Helper()
	set := token.NewFileSet()
	err := filepath.WalkDir("..", func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		syntax, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		folder := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(name)), "..")
		all = append(all, file{strings.TrimPrefix(folder, "/"), filepath.Base(name), syntax, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// modules are the folders that have a module.go.
func modules(t *testing.T, all []file) (names []string) {
	t.Helper()
	for _, f := range all {
		if f.name == "module.go" {
			names = append(names, f.folder)
		}
	}
	for _, known := range []string{"accounts", "talks", "following", "notifications", "transfers"} {
		if !slices.Contains(names, known) {
			t.Fatalf("%s is not among the modules found: %v", known, names)
		}
	}
	return names
}

func TestNoModuleKnowsAnother(t *testing.T) {
	all := sources(t)
	names := modules(t, all)
	for _, f := range all {
		for _, imported := range f.imports() {
			inside, isOurs := strings.CutPrefix(imported, tier)
			if !isOurs {
				continue
			}
			top, _, _ := strings.Cut(inside, "/")
			from, _, _ := strings.Cut(f.folder, "/")
			switch {
			case from == "" || from == top:
				// app.go is the one place that knows every module.
			case slices.Contains(names, top):
				t.Errorf("%s imports the module %s: call it through its contract", f, top)
			case slices.Contains(names, from) && !slices.Contains(shared, top):
				t.Errorf("%s imports %s, which is none of what modules share: %v", f, top, shared)
			}
		}
	}
}

// Calls between modules go one way: Needs says whose clients a module is given.
func TestCallsBetweenModulesFormNoCircle(t *testing.T) {
	all := sources(t)
	calls := map[string][]string{}
	client := regexp.MustCompile(`^([a-z]+)pb$`)
	for _, f := range all {
		if f.name != "module.go" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if selector, ok := n.(*ast.SelectorExpr); ok && strings.HasSuffix(selector.Sel.Name, "Client") {
				if from, ok := selector.X.(*ast.Ident); ok {
					if found := client.FindStringSubmatch(from.Name); found != nil {
						calls[f.folder] = append(calls[f.folder], found[1])
					}
				}
			}
			return true
		})
	}
	if !slices.Contains(calls["notifications"], "following") {
		t.Fatalf("notifications' call of following was not found in %v", calls)
	}
	var visit func(module string, way []string)
	visit = func(module string, way []string) {
		if slices.Contains(way, module) {
			t.Fatalf("calls form a circle: %s", strings.Join(append(way, module), " → "))
		}
		for _, next := range calls[module] {
			visit(next, append(slices.Clone(way), module))
		}
	}
	for module := range calls {
		visit(module, nil)
	}
}

// servesTests says whether a file is there for tests of several packages.
func servesTests(f file) bool { return strings.HasSuffix(f.folder, "test") }

var statement = regexp.MustCompile(`(?is)^\s*(select\s|insert\s+into\s|update\s+\w|delete\s+from\s|with\s+(recursive\s+)?\w+(\s*\([^)]*\))?\s+as\s*\()`)

// isStore says whether statements may stand in a file.
func isStore(name string) bool {
	return name == "store.go" || strings.HasPrefix(name, "store_")
}

func TestStatementsStandInStores(t *testing.T) {
	found := 0
	for _, f := range sources(t) {
		if f.folder == "postgres" || servesTests(f) {
			continue // asks for the server's name
		}
		for where, text := range f.texts() {
			if !statement.MatchString(text) {
				continue
			}
			found++
			if !isStore(f.name) {
				t.Errorf("%s: a statement outside a store.go: %.60q", where, text)
			}
		}
		if isStore(f.name) {
			for _, imported := range f.imports() {
				if strings.HasPrefix(imported, "google.golang.org/grpc") || strings.HasPrefix(imported, "techtalks.example/proto/techtalks/") {
					t.Errorf("%s imports %s: a store knows rows, not contracts", f, imported)
				}
			}
		}
	}
	if found < 40 {
		t.Errorf("only %d statements were found: the test looks for something else", found)
	}
}

// What Postgres denies at run time is seen here first.
func TestAModulesStatementsNameItsOwnSchema(t *testing.T) {
	all := sources(t)
	schemas := append(modules(t, all), "queue")
	table := regexp.MustCompile(`\b(` + strings.Join(schemas, "|") + `)\.[a-z_]+`)
	for _, f := range all {
		if !isStore(f.name) {
			continue
		}
		own, _, _ := strings.Cut(f.folder, "/")
		for where, text := range f.texts() {
			if !strings.Contains(strings.ToLower(text), " ") {
				continue
			}
			for _, named := range table.FindAllStringSubmatch(text, -1) {
				if named[1] != own {
					t.Errorf("%s: %s is %s's, not %s's", where, named[0], named[1], own)
				}
			}
		}
	}
}

// gRPC is a module's skin: its rules can be read, and tested, without it. The
// codes of a neighbour's answers are part of that neighbour's contract.
func TestRulesKnowNoProtocol(t *testing.T) {
	all := sources(t)
	skin := []string{"module.go", "rpc.go", "stream.go"}
	names := modules(t, all)
	for _, f := range all {
		if !slices.Contains(names, f.folder) || slices.Contains(skin, f.name) {
			continue
		}
		for _, imported := range f.imports() {
			if imported == "google.golang.org/grpc" {
				t.Errorf("%s imports %s: only %v may", f, imported, skin)
			}
		}
	}
}

// The driver is known where connections are made, and to stores for arrays.
func TestOnlyPostgresAndStoresKnowTheDriver(t *testing.T) {
	for _, f := range sources(t) {
		if f.folder == "postgres" || servesTests(f) {
			continue
		}
		for _, imported := range f.imports() {
			if (imported == "github.com/lib/pq" || imported == "database/sql") && !isStore(f.name) {
				t.Errorf("%s imports %s", f, imported)
			}
		}
	}
}

func TestAModuleSaysOnOnePageWhatItIs(t *testing.T) {
	for _, f := range sources(t) {
		if f.name != "module.go" {
			continue
		}
		for _, word := range []string{"offers", "needs", "says", "hears"} {
			if !strings.Contains(f.syntax.Doc.Text(), "\n\t"+word+" ") {
				t.Errorf("%s: its comment does not say what it %s", f, word)
			}
		}
	}
}
