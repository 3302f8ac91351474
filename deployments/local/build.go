package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// build builds each tier from its own folder, as it is built anywhere else.
func (s site) build(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(s.run, "bin"), 0o755); err != nil {
		return err
	}
	for _, program := range []struct{ module, folder, name string }{
		{"data-tier", ".", "data-tier"},
		{"logic-tier", ".", "logic-tier"},
		{"logic-tier", "./cmd/talksctl", "talksctl"},
		{"web-tier", ".", "web-tier"},
	} {
		command := exec.CommandContext(ctx, "go", "build", "-o", s.binary(program.name), program.folder)
		command.Dir = filepath.Join(s.root, program.module)
		command.Env = append(os.Environ(), "GOWORK=off")
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", program.name, err, output)
		}
	}
	return nil
}
