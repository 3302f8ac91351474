// Package deployments contains tests that the tiers are built independently of each other.
package deployments

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// A tier builds, and its tests vet, from its own folder and the contract alone.
func TestTierBuildsFromItsFolderAndContract(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	for _, tier := range []string{"proto", "web-tier", "logic-tier", "data-tier"} {
		t.Run(tier, func(t *testing.T) {
			alone := t.TempDir()
			for _, folder := range []string{"proto", tier} {
				destination := filepath.Join(alone, folder)
				if _, err := os.Stat(destination); err == nil {
					continue
				}
				if err := os.CopyFS(destination, os.DirFS(filepath.Join("..", folder))); err != nil {
					t.Fatal(err)
				}
			}
			for _, arguments := range [][]string{{"build", "./..."}, {"vet", "./..."}, {"mod", "tidy", "-diff"}} {
				command := exec.CommandContext(t.Context(), "go", arguments...)
				command.Dir = filepath.Join(alone, tier)
				// -trimpath shares the build cache between copies in different folders.
				command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-trimpath")
				if output, err := command.CombinedOutput(); err != nil {
					t.Errorf("go %s: %v\n%s", strings.Join(arguments, " "), err, output)
				}
			}
		})
	}
}

// See the table of the tiers in the README.
func TestTierHasNoForbiddenDependency(t *testing.T) {
	for tier, forbidden := range map[string][]string{
		"proto":      {"techtalks.example/web-tier", "techtalks.example/logic-tier", "techtalks.example/data-tier", "database/sql", "github.com/rabbitmq/"},
		"web-tier":   {"techtalks.example/logic-tier", "techtalks.example/data-tier", "database/sql", "github.com/lib/pq", "github.com/jackc/", "github.com/rabbitmq/"},
		"logic-tier": {"techtalks.example/web-tier", "techtalks.example/data-tier", "github.com/a-h/templ", "github.com/yuin/goldmark", "github.com/microcosm-cc/", "github.com/jackc/"},
		"data-tier":  {"techtalks.example/web-tier", "techtalks.example/logic-tier", "techtalks.example/proto", "google.golang.org/grpc", "github.com/rabbitmq/"},
	} {
		t.Run(tier, func(t *testing.T) {
			list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-test", "./...")
			list.Dir = filepath.Join("..", tier)
			// A workspace would let one tier import another without requiring its module.
			list.Env = append(os.Environ(), "GOWORK=off")
			output, err := list.Output()
			if err != nil {
				t.Fatalf("go list: %v", err)
			}
			packages := strings.Fields(string(output))
			if !strings.Contains(string(output), "techtalks.example/"+tier) {
				t.Fatalf("go list: got %d packages, none of the tier", len(packages))
			}
			for _, name := range packages {
				for _, prefix := range forbidden {
					if strings.HasPrefix(name, prefix) {
						t.Errorf("the tier depends on %s", name)
					}
				}
			}
		})
	}
}

// The logic tier declares the version of each schema that it needs; it must be the newest
// migration of the data tier.
func TestLogicTierNeedsNewestSchemas(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "logic-tier", "app", "schema.go"))
	if err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, found := range regexp.MustCompile(`"([a-z]+)": (\d+)`).FindAllStringSubmatch(string(source), -1) {
		versions[found[1]] = found[2]
	}
	modules, err := filepath.Glob(filepath.Join("..", "data-tier", "schema", "*", "00001_*.sql"))
	if err != nil || len(modules) < 8 {
		t.Fatalf("%v, %v", modules, err)
	}
	for _, first := range modules {
		migrations, err := filepath.Glob(filepath.Join(filepath.Dir(first), "*.sql"))
		if err != nil {
			t.Fatal(err)
		}
		module := filepath.Base(filepath.Dir(first))
		if newest := strconv.Itoa(len(migrations)); versions[module] != newest {
			t.Errorf("schema version of %s: got %q, want %s; see logic-tier/app/schema.go", module, versions[module], newest)
		}
	}
}
