package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The web tier knows no rule and no database: nothing that it is built from does.
func TestTheTierIsApart(t *testing.T) {
	// Tests' own packages count too: go list -test lists what they are built from.
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-test", "./...")
	// A workspace would let one tier import another without saying so.
	list.Env = append(os.Environ(), "GOWORK=off")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	packages := strings.Fields(string(out))
	if !slices.Contains(packages, "techtalks.example/proto/transport") {
		t.Fatalf("go list names %d packages and not the contract's: it listed something else", len(packages))
	}
	for _, name := range packages {
		for _, forbidden := range []string{
			"database/sql", "github.com/lib/pq", "github.com/jackc/", "github.com/rabbitmq/", "techtalks.example/logic-tier", "techtalks.example/data-tier",
		} {
			if strings.HasPrefix(name, forbidden) {
				t.Errorf("the web tier is built from %s", name)
			}
		}
	}
}
