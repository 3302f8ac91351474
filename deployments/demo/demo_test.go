package demo

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// The demo has no site of its own to link to: its recordings are in it.
func TestNoTalkLinksElsewhere(t *testing.T) {
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
			t.Errorf("%s links to %v, %v", file, talk.Videos, err)
		}
	}
}

func TestEveryRecordingIsSmallAndUsed(t *testing.T) {
	files, err := recordings.ReadDir("recordings")
	if err != nil || len(files) != len(recorded) {
		t.Fatalf("%d recordings for %d talks, %v", len(files), len(recorded), err)
	}
	for _, r := range recorded {
		if content, err := recordings.ReadFile("recordings/" + r.file + ".webm"); err != nil || len(content) > 150_000 {
			t.Errorf("%s has %d bytes, %v", r.file, len(content), err)
		}
	}
}
