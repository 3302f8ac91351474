// Package archtest checks the boundaries of the logic tier's packages, which let a module
// move to a process of its own.
package archtest

import (
	"fmt"
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

// shared are the packages of the platform that modules can import.
var shared = []string{"apperror", "caller", "names", "pagetoken", "postgres", "queue", "sessions", "work"}

// file is a source file that is no test.
type file struct {
	folder, name string // folder below the tier's: "modules/talks", "" for the program
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

// modules returns the names of the packages that have a module.go: the example's, and
// operations of the platform.
func modules(all []file) (names []string) {
	for _, f := range all {
		if f.name == "module.go" {
			names = append(names, path.Base(f.folder))
		}
	}
	return names
}

// packageOf returns the first element of a path below modules or platform, and which of the
// two it is below.
func packageOf(folder string) (kind, name string) {
	kind, inside, _ := strings.Cut(folder, "/")
	name, _, _ = strings.Cut(inside, "/")
	return kind, name
}

// boundary is a rule about all packages. check returns a line for each violation; example
// is a file that violates the rule.
type boundary struct {
	check   func([]file) []string
	example file
}

var boundaries = map[string]boundary{
	"modules import no other module": {
		importsOfModules, example("modules/talks/list.go", `package talks; import _ "techtalks.example/logic-tier/modules/accounts"`)},
	"modules share a few packages": {
		importsOfModules, example("modules/talks/list.go", `package talks; import _ "techtalks.example/logic-tier/platform/server"`)},
	"calls between modules form no cycle": {
		cyclesOfCalls, example("modules/following/module.go", `package following; type Deps struct { N notificationspb.NotificationsClient }`)},
	"statements stand in stores": {
		statementsOutsideStores, example("modules/talks/list.go", "package talks; const all = `select * from talks.talk`")},
	"stores know rows and no contracts": {
		contractsInStores, example("modules/talks/store.go", `package talks; import _ "techtalks.example/proto/techtalks/talks/v1"`)},
	"a module's statements name its own schema": {
		foreignSchemas, example("modules/talks/store.go", "package talks; const all = `select name from accounts.account`")},
	"rules know no protocol": {
		protocolsInRules, example("modules/talks/talk.go", `package talks; import _ "google.golang.org/grpc"`)},
	"only package postgres and stores know the driver": {
		driversOutsideStores, example("modules/talks/talk.go", `package talks; import _ "database/sql"`)},
	"a module's doc comment documents what it serves, depends on, publishes and consumes": {
		undocumentedModules, example("modules/talks/module.go", "// Package talks has talks.\npackage talks")},
}

// example parses a source file that exists only here.
func example(name, source string) file {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, source, parser.ParseComments)
	if err != nil {
		panic(err)
	}
	return file{path.Dir(name), path.Base(name), syntax, set}
}

func TestBoundariesHold(t *testing.T) {
	all := sources(t)
	for _, known := range []string{"accounts", "talks", "following", "notifications", "transfers"} {
		if found := modules(all); !slices.Contains(found, known) {
			t.Fatalf("%s is not among the modules found: %v", known, found)
		}
	}
	for name, b := range boundaries {
		for _, violation := range b.check(all) {
			t.Errorf("%s: %s", name, violation)
		}
	}
}

// A rule that no file can violate guards nothing.
func TestBoundariesAreNoticedWhenCrossed(t *testing.T) {
	all := sources(t)
	for name, b := range boundaries {
		if len(b.check(append(slices.Clone(all), b.example))) == 0 {
			t.Errorf("%s: %s violates it unnoticed", name, b.example)
		}
	}
}

func importsOfModules(all []file) (violations []string) {
	names := modules(all)
	for _, f := range all {
		_, from := packageOf(f.folder)
		if !slices.Contains(names, from) {
			continue
		}
		for _, imported := range f.imports() {
			inside, isOurs := strings.CutPrefix(imported, tier)
			switch kind, name := packageOf(inside); {
			case !isOurs || name == from:
			case slices.Contains(names, name):
				violations = append(violations, fmt.Sprintf("%s imports the module %s; call it through its contract", f, name))
			case kind != "platform" || !slices.Contains(shared, name):
				violations = append(violations, fmt.Sprintf("%s imports %s, which is not one of the packages for modules: %v", f, inside, shared))
			}
		}
	}
	return violations
}

// importsOfPlatform keeps what a team would reuse free of the example.
func importsOfPlatform(all []file) (violations []string) {
	for _, f := range all {
		if kind, _ := packageOf(f.folder); kind != "platform" {
			continue
		}
		for _, imported := range f.imports() {
			if inside, isOurs := strings.CutPrefix(imported, tier); isOurs && !strings.HasPrefix(inside, "platform/") {
				violations = append(violations, fmt.Sprintf("%s imports %s", f, inside))
			}
		}
	}
	return violations
}

// cyclesOfCalls looks at the clients that each module.go names.
func cyclesOfCalls(all []file) (violations []string) {
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
						calls[path.Base(f.folder)] = append(calls[path.Base(f.folder)], found[1])
					}
				}
			}
			return true
		})
	}
	var visit func(module string, path []string)
	visit = func(module string, path []string) {
		if slices.Contains(path, module) {
			violations = append(violations, strings.Join(append(path, module), " → "))
			return
		}
		for _, next := range calls[module] {
			visit(next, append(slices.Clone(path), module))
		}
	}
	for module := range calls {
		visit(module, nil)
	}
	return violations
}

// servesTests reports whether a file belongs to a package for tests.
func servesTests(f file) bool { return strings.HasSuffix(f.folder, "test") }

var statement = regexp.MustCompile(`(?is)^\s*(select\s|insert\s+into\s|update\s+\w|delete\s+from\s|with\s+(recursive\s+)?\w+(\s*\([^)]*\))?\s+as\s*\()`)

// isStore reports whether a file can hold statements.
func isStore(name string) bool {
	return name == "store.go" || strings.HasPrefix(name, "store_")
}

func statementsOutsideStores(all []file) (violations []string) {
	for _, f := range all {
		if f.folder == "platform/postgres" || servesTests(f) || isStore(f.name) {
			continue // package postgres asks for the server's name
		}
		for position, text := range f.texts() {
			if statement.MatchString(text) {
				violations = append(violations, fmt.Sprintf("%s: a statement outside a store: %.60q", position, text))
			}
		}
	}
	return violations
}

func contractsInStores(all []file) (violations []string) {
	for _, f := range all {
		if !isStore(f.name) {
			continue
		}
		for _, imported := range f.imports() {
			if strings.HasPrefix(imported, "google.golang.org/grpc") || strings.HasPrefix(imported, "techtalks.example/proto/techtalks/") {
				violations = append(violations, fmt.Sprintf("%s imports %s", f, imported))
			}
		}
	}
	return violations
}

// foreignSchemas finds early what Postgres denies at run time.
func foreignSchemas(all []file) (violations []string) {
	schemas := append(modules(all), "queue")
	table := regexp.MustCompile(`\b(` + strings.Join(schemas, "|") + `)\.[a-z_]+`)
	for _, f := range all {
		if !isStore(f.name) {
			continue
		}
		_, own := packageOf(f.folder)
		for position, text := range f.texts() {
			if !strings.Contains(text, " ") {
				continue
			}
			for _, named := range table.FindAllStringSubmatch(text, -1) {
				if named[1] != own {
					violations = append(violations, fmt.Sprintf("%s: %s belongs to %s, not to %s", position, named[0], named[1], own))
				}
			}
		}
	}
	return violations
}

// protocolsInRules finds gRPC beyond a module's surface: its rules can be read and tested
// without it. The status codes of other modules are part of their contracts.
func protocolsInRules(all []file) (violations []string) {
	surface := []string{"module.go", "rpc.go", "stream.go"}
	names := modules(all)
	for _, f := range all {
		if !slices.Contains(names, path.Base(f.folder)) || slices.Contains(surface, f.name) {
			continue
		}
		if slices.Contains(f.imports(), "google.golang.org/grpc") {
			violations = append(violations, fmt.Sprintf("%s imports google.golang.org/grpc; only %v can", f, surface))
		}
	}
	return violations
}

// driversOutsideStores allows the driver where connections are made, and in stores for arrays.
func driversOutsideStores(all []file) (violations []string) {
	for _, f := range all {
		if f.folder == "platform/postgres" || servesTests(f) || isStore(f.name) {
			continue
		}
		for _, imported := range f.imports() {
			if imported == "github.com/lib/pq" || imported == "database/sql" {
				violations = append(violations, fmt.Sprintf("%s imports %s", f, imported))
			}
		}
	}
	return violations
}

func undocumentedModules(all []file) (violations []string) {
	for _, f := range all {
		if f.name != "module.go" {
			continue
		}
		for _, word := range []string{"serves", "depends on", "publishes", "consumes"} {
			if !strings.Contains(f.syntax.Doc.Text(), "\n\t"+word+" ") {
				violations = append(violations, fmt.Sprintf("%s: its doc comment has no line %q", f, word))
			}
		}
	}
	return violations
}
