// Package source builds programs of this repository from its source tree, each in its own
// module.
package source

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Tree returns the root of the source tree that contains the working directory: the folder with
// go.work.
func Tree() (string, error) {
	folder, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.work")); err == nil {
			return folder, nil
		}
		if folder == filepath.Dir(folder) {
			return "", errors.New("no go.work in this folder or above: run it inside the source tree")
		}
		folder = filepath.Dir(folder)
	}
}

// Program is a program of the repository.
type Program struct {
	Name   string
	Module string // folder in the source tree
	Folder string // package folder in the module
}

// The programs of the tiers.
var (
	DataTier  = Program{"data-tier", "data-tier", "."}
	LogicTier = Program{"logic-tier", "logic-tier", "."}
	Talksctl  = Program{"talksctl", "logic-tier", "./cmd/talksctl"}
	WebTier   = Program{"web-tier", "web-tier", "."}
	Doctor    = Program{"doctor", "deployments", "./doctor"}
	Local     = Program{"local", "deployments", "./local"}
)

// Build builds programs into a folder, under their names. tree is the root of the source tree.
// Build works with any GOFLAGS and in a checkout that another user owns; see the Makefile.
func Build(ctx context.Context, tree, folder string, programs ...Program) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, p := range programs {
		command := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-buildvcs=false", "-o", filepath.Join(folder, p.Name), p.Folder)
		command.Dir = filepath.Join(tree, p.Module)
		command.Env = append(os.Environ(), "GOWORK=off")
		if output, err := command.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", p.Name, err, output)
		}
	}
	return nil
}
