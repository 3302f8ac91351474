package drills

import (
	"os"
	"strings"
	"testing"

	"techtalks.example/deployments/drills/lab"
)

// What was promised is kept, in those drills that are short; "make drill" carries out all.
func TestDrills(t *testing.T) {
	if err := lab.Missing(lab.Namespaces); err != nil {
		t.Skip(err)
	}
	kind, why := lab.Best()
	t.Logf("hosts are %s %v", kind, why)
	programs, err := Folder()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(programs)
	if err := Programs(t.Context(), programs); err != nil {
		t.Fatal(err)
	}
	for _, d := range All {
		if !d.Test {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			at, err := Folder()
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(at)
			result, err := d.Run(t.Context(), kind, at, programs)
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
