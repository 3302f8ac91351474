package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// importsOfPages returns the imports of packages of pages in a source file.
func importsOfPages(name string, source any) (imports []string, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if strings.HasPrefix(path, "techtalks.example/web-tier/pages") {
			imports = append(imports, path)
		}
	}
	return imports, nil
}

// The platform is what a team would keep for pages of its own.
func TestPlatformImportsNoPages(t *testing.T) {
	counterexample := `package live; import _ "techtalks.example/web-tier/pages/ui"`
	if found, err := importsOfPages("counterexample.go", counterexample); err != nil || len(found) != 1 {
		t.Fatalf("the check does not notice %s: %v, %v", counterexample, found, err)
	}
	files := 0
	err := filepath.WalkDir("platform", func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		found, err := importsOfPages(path, nil)
		for _, imported := range found {
			t.Errorf("%s imports %s", path, imported)
		}
		return err
	})
	if err != nil || files < 50 {
		t.Errorf("%d files read: %v", files, err)
	}
}
