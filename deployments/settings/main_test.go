package main

import (
	"bytes"
	"os"
	"testing"
)

func TestReferenceIsCurrent(t *testing.T) {
	var want bytes.Buffer
	if err := write(t.Context(), &want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../SETTINGS.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Errorf("deployments/SETTINGS.md is stale: run make generate, want\n%s", want.String())
	}
}
