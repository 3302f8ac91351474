// Package deployments is tested for what it puts together: that the tiers are
// apart before they are.
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

// A tier needs its own folder and the contract, and nothing else: whoever has
// those two on a host of their own can build it and vet its tests.
func TestEachTierBuildsFromItsFolderAndTheContractAlone(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	for _, tier := range []string{"proto", "web-tier", "logic-tier", "data-tier"} {
		t.Run(tier, func(t *testing.T) {
			alone := t.TempDir()
			for _, folder := range []string{"proto", tier} {
				to := filepath.Join(alone, folder)
				if _, err := os.Stat(to); err == nil {
					continue
				}
				if err := os.CopyFS(to, os.DirFS(filepath.Join("..", folder))); err != nil {
					t.Fatal(err)
				}
			}
			for _, arguments := range [][]string{{"build", "./..."}, {"vet", "./..."}, {"mod", "tidy", "-diff"}} {
				command := exec.CommandContext(t.Context(), "go", arguments...)
				command.Dir = filepath.Join(alone, tier)
				// -trimpath: what was compiled in another copy need not be compiled again.
				command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-trimpath")
				if output, err := command.CombinedOutput(); err != nil {
					t.Errorf("go %s: %v\n%s", strings.Join(arguments, " "), err, output)
				}
			}
		})
	}
}

// What no tier may be built from: see the table of the tiers in the README.
func TestWhatATierIsNotBuiltFrom(t *testing.T) {
	for tier, forbidden := range map[string][]string{
		"proto":      {"techtalks.example/web-tier", "techtalks.example/logic-tier", "techtalks.example/data-tier", "database/sql", "github.com/rabbitmq/"},
		"web-tier":   {"techtalks.example/logic-tier", "techtalks.example/data-tier", "database/sql", "github.com/lib/pq", "github.com/jackc/", "github.com/rabbitmq/"},
		"logic-tier": {"techtalks.example/web-tier", "techtalks.example/data-tier", "github.com/a-h/templ", "github.com/yuin/goldmark", "github.com/microcosm-cc/", "github.com/jackc/"},
		"data-tier":  {"techtalks.example/web-tier", "techtalks.example/logic-tier", "techtalks.example/proto", "google.golang.org/grpc", "github.com/rabbitmq/"},
	} {
		t.Run(tier, func(t *testing.T) {
			list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-test", "./...")
			list.Dir = filepath.Join("..", tier)
			// A workspace would let one tier import another without saying so.
			list.Env = append(os.Environ(), "GOWORK=off")
			output, err := list.Output()
			if err != nil {
				t.Fatalf("go list: %v", err)
			}
			packages := strings.Fields(string(output))
			if !strings.Contains(string(output), "techtalks.example/"+tier) {
				t.Fatalf("go list lists %d packages and none of the tier's", len(packages))
			}
			for _, name := range packages {
				for _, prefix := range forbidden {
					if strings.HasPrefix(name, prefix) {
						t.Errorf("it is built from %s", name)
					}
				}
			}
		})
	}
}

// The logic tier says which version of each schema it was written for; the data tier's
// migrations are what there is.
func TestTheLogicTierKnowsTheNewestSchemas(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "logic-tier", "app", "schema.go"))
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string]string{}
	for _, found := range regexp.MustCompile(`"([a-z]+)": (\d+)`).FindAllStringSubmatch(string(source), -1) {
		needs[found[1]] = found[2]
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
		if newest := strconv.Itoa(len(migrations)); needs[module] != newest {
			t.Errorf("the logic tier needs version %q of %s, and the newest is %s: see logic-tier/app/schema.go", needs[module], module, newest)
		}
	}
}
