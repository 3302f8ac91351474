package drills

import (
	"os"
	"strings"
	"testing"

	"techtalks.example/deployments/drills/lab"
)

// TestDrillsKeepGuarantees runs all drills, briefly and in parallel. Their hosts are
// namespaces, which start faster, except in one drill, which uses the same kind as "make
// drill".
func TestDrillsKeepGuarantees(t *testing.T) {
	if err := lab.Check(lab.Namespaces); err != nil {
		t.Skip(err)
	}
	best, err := lab.BestKind()
	t.Logf("make drill uses %s; missing for containers: %v", best, err)
	programs, err := TempFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(programs) }) // parallel subtests run after this function returns
	if err := BuildPrograms(t.Context(), programs); err != nil {
		t.Fatal(err)
	}
	for _, d := range All {
		t.Run(d.Name, func(t *testing.T) {
			if !d.Seamless {
				t.Parallel()
			}
			hosts := lab.Namespaces
			if d.Name == "data-tier-killed" {
				hosts = best
			}
			folder, err := TempFolder()
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(folder)
			result, err := d.Run(t.Context(), Config{Hosts: hosts, Folder: folder, Programs: programs, Brief: true})
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			result.Print(&text)
			t.Log(text.String())
			if len(result.Violations) > 0 {
				t.Fail()
			}
		})
	}
}
