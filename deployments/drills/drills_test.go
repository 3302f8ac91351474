package drills

import (
	"os"
	"strings"
	"testing"

	"techtalks.example/deployments/drills/lab"
)

// What was promised is kept, in every drill; "make drill" has them last as long as they are
// told to. Two are carried out at the same time where there are two cores. Hosts are what
// is made sooner, but once what "make drill" takes where a Docker engine answers.
func TestDrills(t *testing.T) {
	if err := lab.Missing(lab.Namespaces); err != nil {
		t.Skip(err)
	}
	best, why := lab.Best()
	t.Logf("make drill has hosts be %s; for containers is missing: %v", best, why)
	programs, err := Folder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(programs) }) // those that are parallel end after this function
	if err := Programs(t.Context(), programs); err != nil {
		t.Fatal(err)
	}
	for _, d := range All {
		t.Run(d.Name, func(t *testing.T) {
			if !d.Unnoticed {
				t.Parallel()
			}
			hosts := lab.Namespaces
			if d.Name == "data-tier-killed" {
				hosts = best
			}
			at, err := Folder()
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(at)
			result, err := d.Run(t.Context(), Place{Hosts: hosts, Folder: at, Programs: programs, Brief: true})
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			result.Print(&text)
			t.Log(text.String())
			if len(result.Broken) > 0 {
				t.Fail()
			}
		})
	}
}
