package demo

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The demo contains its recordings and must not link to other sites.
func TestDemoTalksDoNotLinkToOtherSites(t *testing.T) {
	files, err := filepath.Glob("catalogue/*/videos/*.json")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d talks, %v", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var talk struct{ Videos []any }
		if err := json.Unmarshal(content, &talk); err != nil || len(talk.Videos) > 0 {
			t.Errorf("%s: got links %v, %v; want none", file, talk.Videos, err)
		}
	}
}

func TestRecordingsAreSmallAndUsed(t *testing.T) {
	files, err := recordings.ReadDir("recordings")
	if err != nil || len(files) != len(recordedTalks) {
		t.Fatalf("%d recordings for %d talks, %v", len(files), len(recordedTalks), err)
	}
	for _, r := range recordedTalks {
		if content, err := recordings.ReadFile("recordings/" + r.file + ".webm"); err != nil || len(content) > 150_000 {
			t.Errorf("%s: got %d bytes, %v; want at most 150,000", r.file, len(content), err)
		}
	}
}
