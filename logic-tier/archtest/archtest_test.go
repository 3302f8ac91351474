// Package archtest enforces the boundaries between the logic tier's packages, which allow
// each module to run in its own process.
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

// shared lists the platform packages that modules can import.
var shared = []string{"apperror", "caller", "names", "pagetoken", "postgres", "queue", "sessions", "sweep", "work"}

// file is a source file other than a test.
type file struct {
	folder, name string // folder relative to the tier: "modules/talks", "" for main.go
	syntax       *ast.File
	set          *token.FileSet
}

func (f file) String() string { return path.Join(f.folder, f.name) }

func (f file) imports() (paths []string) {
	for _, spec := range f.syntax.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			panic(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// texts returns the string literals by position.
func (f file) texts() map[string]string {
	texts := map[string]string{}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil {
				texts[f.set.Position(literal.Pos()).String()] = text
			}
		}
		return true
	})
	return texts
}

// sources parses the tier's source files.
func sources(t *testing.T) (files []file) {
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
		files = append(files, file{strings.TrimPrefix(folder, "/"), filepath.Base(name), syntax, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// modules returns the names of the packages that have a module.go: the example's modules,
// and operations of the platform.
func modules(files []file) (names []string) {
	for _, f := range files {
		if f.name == "module.go" {
			names = append(names, path.Base(f.folder))
		}
	}
	return names
}

// packageOf returns the first two elements of a folder: modules or platform, and the package
// below it.
func packageOf(folder string) (kind, name string) {
	kind, rest, _ := strings.Cut(folder, "/")
	name, _, _ = strings.Cut(rest, "/")
	return kind, name
}

// boundary is a rule about all packages. check returns one line per violation. example is a
// file that violates the rule.
type boundary struct {
	check   func([]file) []string
	example file
}

var boundaries = map[string]boundary{
	"modules do not import other modules": {
		importsOfModules, example("modules/talks/list.go", `package talks; import _ "techtalks.example/logic-tier/modules/accounts"`)},
	"modules import only shared platform packages": {
		importsOfModules, example("modules/talks/list.go", `package talks; import _ "techtalks.example/logic-tier/platform/server"`)},
	"the platform imports no module": {
		importsOfPlatform, example("platform/work/work.go", `package work; import _ "techtalks.example/logic-tier/modules/talks"`)},
	"the platform does not import what assembles it": {
		importsOfPlatform, example("platform/work/work.go", `package work; import _ "techtalks.example/logic-tier/app"`)},
	"calls between modules are acyclic": {
		cyclesOfCalls, example("modules/following/module.go", `package following; type Deps struct { N notificationspb.NotificationsClient }`)},
	"only stores contain SQL statements": {
		statementsOutsideStores, example("modules/talks/list.go", "package talks; const all = `select * from talks.talk`")},
	"stores do not depend on contracts": {
		contractsInStores, example("modules/talks/store.go", `package talks; import _ "techtalks.example/proto/techtalks/talks/v1"`)},
	"a module's statements access only its own schema": {
		foreignSchemas, example("modules/talks/store.go", "package talks; const all = `select name from accounts.account`")},
	"business rules do not depend on gRPC": {
		protocolsInRules, example("modules/talks/talk.go", `package talks; import _ "google.golang.org/grpc"`)},
	"only package postgres and stores import the driver": {
		driversOutsideStores, example("modules/talks/talk.go", `package talks; import _ "database/sql"`)},
	"a module's doc comment documents what it serves, depends on, publishes and consumes": {
		undocumentedModules, example("modules/talks/module.go", "// Package talks has talks.\npackage talks")},
}

// example parses source as a file with the given name.
func example(name, source string) file {
	set := token.NewFileSet()
	syntax, err := parser.ParseFile(set, name, source, parser.ParseComments)
	if err != nil {
		panic(err)
	}
	return file{path.Dir(name), path.Base(name), syntax, set}
}

func TestBoundariesHold(t *testing.T) {
	files := sources(t)
	for _, want := range []string{"accounts", "talks", "following", "notifications", "transfers"} {
		if got := modules(files); !slices.Contains(got, want) {
			t.Fatalf("modules: got %v, want %s among them", got, want)
		}
	}
	for name, b := range boundaries {
		for _, violation := range b.check(files) {
			t.Errorf("%s: %s", name, violation)
		}
	}
}

// Each check detects the violation in its example.
func TestBoundariesDetectViolations(t *testing.T) {
	files := sources(t)
	for name, b := range boundaries {
		if len(b.check(append(slices.Clone(files), b.example))) == 0 {
			t.Errorf("%s: violation by %s not detected", name, b.example)
		}
	}
}

func importsOfModules(files []file) (violations []string) {
	names := modules(files)
	for _, f := range files {
		_, module := packageOf(f.folder)
		if !slices.Contains(names, module) {
			continue
		}
		for _, imported := range f.imports() {
			folder, inTier := strings.CutPrefix(imported, tier)
			switch kind, name := packageOf(folder); {
			case !inTier || name == module:
			case slices.Contains(names, name):
				violations = append(violations, fmt.Sprintf("%s imports the module %s: call it through its contract", f, name))
			case kind != "platform" || !slices.Contains(shared, name):
				violations = append(violations, fmt.Sprintf("%s imports %s: modules can import only %v", f, folder, shared))
			}
		}
	}
	return violations
}

// importsOfPlatform keeps the reusable platform independent of the example's modules.
func importsOfPlatform(files []file) (violations []string) {
	for _, f := range files {
		if kind, _ := packageOf(f.folder); kind != "platform" {
			continue
		}
		for _, imported := range f.imports() {
			if folder, inTier := strings.CutPrefix(imported, tier); inTier && !strings.HasPrefix(folder, "platform/") {
				violations = append(violations, fmt.Sprintf("%s imports %s", f, folder))
			}
		}
	}
	return violations
}

// cyclesOfCalls derives the calls between modules from the clients in each module.go.
func cyclesOfCalls(files []file) (violations []string) {
	calls := map[string][]string{}
	client := regexp.MustCompile(`^([a-z]+)pb$`)
	for _, f := range files {
		if f.name != "module.go" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if selector, ok := n.(*ast.SelectorExpr); ok && strings.HasSuffix(selector.Sel.Name, "Client") {
				if pkg, ok := selector.X.(*ast.Ident); ok {
					if match := client.FindStringSubmatch(pkg.Name); match != nil {
						calls[path.Base(f.folder)] = append(calls[path.Base(f.folder)], match[1])
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

// inTestPackage reports whether a file belongs to a package that supports tests.
func inTestPackage(f file) bool { return strings.HasSuffix(f.folder, "test") }

var statement = regexp.MustCompile(`(?is)^\s*(select\s|insert\s+into\s|update\s+\w|delete\s+from\s|with\s+(recursive\s+)?\w+(\s*\([^)]*\))?\s+as\s*\()`)

// isStore reports whether a file can contain SQL statements.
func isStore(name string) bool {
	return name == "store.go" || strings.HasPrefix(name, "store_")
}

func statementsOutsideStores(files []file) (violations []string) {
	for _, f := range files {
		if f.folder == "platform/postgres" || inTestPackage(f) || isStore(f.name) {
			continue // package postgres queries the server's name and schema version
		}
		for position, text := range f.texts() {
			if statement.MatchString(text) {
				violations = append(violations, fmt.Sprintf("%s: SQL statement outside of a store: %.60q", position, text))
			}
		}
	}
	return violations
}

func contractsInStores(files []file) (violations []string) {
	for _, f := range files {
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

// foreignSchemas detects accesses that Postgres would deny at run time.
func foreignSchemas(files []file) (violations []string) {
	schemas := append(modules(files), "queue")
	table := regexp.MustCompile(`\b(` + strings.Join(schemas, "|") + `)\.[a-z_]+`)
	for _, f := range files {
		if !isStore(f.name) {
			continue
		}
		_, module := packageOf(f.folder)
		for position, text := range f.texts() {
			if !strings.Contains(text, " ") {
				continue
			}
			for _, match := range table.FindAllStringSubmatch(text, -1) {
				if match[1] != module {
					violations = append(violations, fmt.Sprintf("%s: %s belongs to %s, not to %s", position, match[0], match[1], module))
				}
			}
		}
	}
	return violations
}

// protocolsInRules confines gRPC to a module's surface, so that its business rules can be
// read and tested without gRPC. Status codes are allowed, since they are part of other
// modules' contracts.
func protocolsInRules(files []file) (violations []string) {
	surface := []string{"module.go", "rpc.go", "stream.go"}
	names := modules(files)
	for _, f := range files {
		if !slices.Contains(names, path.Base(f.folder)) || slices.Contains(surface, f.name) {
			continue
		}
		if slices.Contains(f.imports(), "google.golang.org/grpc") {
			violations = append(violations, fmt.Sprintf("%s imports google.golang.org/grpc: only %v can", f, surface))
		}
	}
	return violations
}

// driversOutsideStores allows the driver in package postgres, which opens connections, and in
// stores, which use its arrays.
func driversOutsideStores(files []file) (violations []string) {
	for _, f := range files {
		if f.folder == "platform/postgres" || inTestPackage(f) || isStore(f.name) {
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

func undocumentedModules(files []file) (violations []string) {
	for _, f := range files {
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
