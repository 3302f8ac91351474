package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"techtalks.example/deployments/local/localtest"
)

// tree is the repository's root.
const tree = "../.."

// commands returns the shell blocks of documents.
func commands(t *testing.T, documents ...string) (blocks []string) {
	t.Helper()
	for _, name := range documents {
		text, err := os.ReadFile(filepath.Join(tree, name))
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s has no commands", name)
		}
		for _, match := range found {
			blocks = append(blocks, match[1])
		}
	}
	return blocks
}

// The documented operator commands work as printed, with the documented output.
func TestDocumentedCommandsWork(t *testing.T) {
	r := localtest.Up(t, localtest.Folder(t))
	var script strings.Builder
	script.WriteString("set -e\n")
	for _, block := range commands(t, "logic-tier/README.md", "logic-tier/platform/queue/README.md", "data-tier/README.md") {
		if strings.Contains(block, "logic ") || strings.Contains(block, "talksctl") || strings.Contains(block, "curl ") || strings.Contains(block, "bin/data-tier ") {
			script.WriteString(block)
		}
	}
	// Use this site's paths and addresses, and shorten the wait for a notification. Two calls
	// fail as documented: one exceeds its deadline, one is rejected.
	text := strings.NewReplacer(
		".run/", r.Run+"/", "127.0.0.1:9090", r.Logic, "http://127.0.0.1:8080", r.URL, "-max-time 10", "-max-time 2",
		"StreamNotifications\n", "StreamNotifications || true\n", "Accounts/SignUp\n", "Accounts/SignUp || true\n",
	).Replace(script.String())
	ctx, done := context.WithTimeout(t.Context(), 5*time.Minute)
	defer done()
	bin := t.TempDir()
	shell := exec.CommandContext(ctx, "bash", "-c", text)
	shell.Dir = "../.."
	shell.Env = append(os.Environ(), "GOBIN="+bin, "PATH="+bin+":"+os.Getenv("PATH"), "LOGIC_ADDRESS="+r.Logic, "RUN_DIR="+r.Run)
	output, err := shell.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, text, output)
	}
	for _, want := range []string{
		"techtalks.talks.v1.Talks\n",                     // list
		"rpc ListTalks",                                  // describe
		`"status": "SERVING"`,                            // health
		"Software architecture and communication design", // search
		`"notifications": [`,                             // the inbox, even when empty
		`"subscribed": {`,                                // stream
		`"field": "handle"`, `"field": "password"`,       // a rejected sign-up
		"0 channels and 0 talks added",                                                     // import
		`"done":`,                                                                          // short poll and long poll
		"event: operation\n",                                                               // stream
		`"cursor":`,                                                                        // the inbox, polled
		`"operations": [`,                                                                  // the account's list
		"operations/",                                                                      // the operator's list
		"test.direct ─ blue → test.blue", "delivery 3 acknowledged", "delivery 1 rejected", // test messages
		"the test message asks to be rejected", // the dead letter
	} {
		if !strings.Contains(string(output), want) {
			t.Errorf("output lacks %q:\n%s", want, output)
		}
	}
}

// documents returns the Markdown files of the repository, relative to its root.
func documents(t *testing.T) (all []string) {
	t.Helper()
	err := filepath.WalkDir(tree, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && strings.HasPrefix(name, ".") && path != tree {
			return filepath.SkipDir
		} else if filepath.Ext(name) == ".md" {
			relative, err := filepath.Rel(tree, path)
			if err != nil {
				return err
			}
			all = append(all, relative)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	inTree  = regexp.MustCompile("`((?:web-tier|logic-tier|data-tier|proto|deployments)/[^` <]*)`") // without <placeholders>
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
)

// anchors returns the headings of a document as GitHub links to them.
func anchors(text string) (all []string) {
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		slug := strings.ToLower(regexp.MustCompile(`[^\w\s-]`).ReplaceAllString(match[1], ""))
		all = append(all, strings.ReplaceAll(slug, " ", "-"))
	}
	return all
}

func TestDocumentLinksResolve(t *testing.T) {
	checked := 0
	for _, document := range documents(t) {
		text, err := os.ReadFile(filepath.Join(tree, document))
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			target, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			checked++
			path := filepath.Join(tree, filepath.Dir(document), target)
			if target == "" {
				path = filepath.Join(tree, document)
			}
			if _, err := os.Stat(path); err != nil {
				t.Errorf("%s links to %s: %v", document, match[1], err)
			} else if anchor != "" && filepath.Ext(path) == ".md" {
				other, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Contains(anchors(string(other)), anchor) {
					t.Errorf("%s links to %s, which has no such heading", document, match[1])
				}
			}
		}
		for _, match := range inTree.FindAllStringSubmatch(string(text), -1) {
			checked++
			if found, err := filepath.Glob(filepath.Join(tree, match[1])); err != nil || len(found) == 0 {
				t.Errorf("%s names %s, which does not exist", document, match[1])
			}
		}
	}
	if checked < 50 {
		t.Errorf("only %d links and paths found: the patterns no longer fit the documents", checked)
	}
}
