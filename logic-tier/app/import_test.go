package app

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"github.com/ulikunitz/xz"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
	"techtalks.example/proto/transport"
)

// talksctl runs the operator's command line against a test tier.
type talksctl struct {
	*testTier
	program string
}

func newTalksctl(t *testing.T) talksctl {
	t.Helper()
	program := filepath.Join(t.TempDir(), "talksctl")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", program, "../cmd/talksctl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return talksctl{startTier(t), program}
}

func (c talksctl) command(arguments ...string) *exec.Cmd {
	command := exec.CommandContext(c.t.Context(), c.program, arguments...)
	command.Env = append(os.Environ(), "LOGIC_ADDRESS="+c.settings.listenAddress, "CERTIFICATES="+c.settings.certificates)
	return command
}

func (c talksctl) run(arguments ...string) string {
	c.t.Helper()
	output, err := c.command(arguments...).CombinedOutput()
	if err != nil {
		c.t.Fatalf("talksctl %v: %v\n%s", arguments, err, output)
	}
	return string(output)
}

func (c talksctl) count(statement string) (n int) {
	c.t.Helper()
	if err := c.database.Superuser().QueryRow(statement).Scan(&n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

// messyCatalogue is a catalogue in pyvideo's layout with typical defects. rejection is part
// of the reason with which a file is rejected, or empty.
var messyCatalogue = map[string]struct{ content, rejection string }{
	"README.md":                 {content: "not part of it"},
	"spring-2024/LICENSE":       {content: "nor this"},
	"spring-2024/notes.json":    {content: "{"},
	"spring-2024/category.json": {content: `{"title": "Spring 2024"}`},
	"spring-2024/videos/whole.json": {content: `{"title": "Écoute les <b>files</b>", "speakers": ["Zoë"], "language": "fra", "tags": ["Queues", "queues"],
		"recorded": "2024-03-01", "duration": 1800, "description": "# Files\n\nEt plus.", "videos": [{"type": "youtube", "url": "https://videos.example/1"}]}`},
	"spring-2024/videos/bare.json":       {content: `{"title": "Only a title"}`},
	"spring-2024/videos/bom.json":        {content: "\ufeff" + `{"title": "With a byte order mark"}`},
	"spring-2024/videos/extra.json":      {content: `{"title": "More than is known", "id": 7, "nested": {"a": [1]}, "duration": "long"}`},
	"spring-2024/videos/cut.json":        {content: `{"title": "cut`, rejection: "not JSON"},
	"spring-2024/videos/empty.json":      {content: "", rejection: "not JSON"},
	"spring-2024/videos/list.json":       {content: `["title"]`, rejection: "the file: must be an object, not a JSON array"},
	"spring-2024/videos/number.json":     {content: `{"title": 7}`, rejection: "title: must be a string, not a JSON number"},
	"spring-2024/videos/nameless.json":   {content: `{"speakers": ["Who"]}`, rejection: "no title"},
	"spring-2024/videos/blank.json":      {content: `{"title": " \u0000 "}`, rejection: "no title"},
	"spring-2024/videos/latin1.json":     {content: "{\"title\": \"caf\xe9\"}", rejection: "not UTF-8"},
	"spring-2024/videos/script.json":     {content: `{"title": "Trap", "videos": [{"url": "javascript:alert(1)"}]}`, rejection: "no link starts with https:// or http://"},
	"spring-2024/videos/when.json":       {content: `{"title": "When", "recorded": "last spring"}`, rejection: "recorded"},
	"spring-2024/videos/future.json":     {content: `{"title": "Future", "recorded": "2199-12-31"}`, rejection: "recorded_date: this date is in the future"},
	"spring-2024/videos/long.json":       {content: `{"title": "` + strings.Repeat("long ", 100) + `"}`, rejection: "title"},
	"spring-2024/videos/big.json":        {content: `{"title": "Big", "description": "` + strings.Repeat("x", 1<<20) + `"}`, rejection: "larger than 1 MiB"},
	"untitled/videos/talk.json":          {content: `{"title": "In a channel without a title"}`},
	"broken/category.json":               {content: `{"title": ""}`, rejection: "no title"},
	"engines/category.json":              {content: `{"title": "Taken over"}`, rejection: `belongs to accounts/ada`},
	"engines/videos/talk.json":           {content: `{"title": "Slipped in"}`, rejection: `belongs to accounts/ada`},
	"Weird Event (2024)/videos/ä ö.json": {content: `{"title": "Weird names"}`},
}

// writeCatalogue writes messyCatalogue to a folder.
func writeCatalogue(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "messy")
	for name, f := range messyCatalogue {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(f.content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// packCatalogue packs a folder as .tar.xz.
func packCatalogue(t *testing.T, root string) string {
	t.Helper()
	var packed bytes.Buffer
	compressed, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	files := tar.NewWriter(compressed)
	if err := files.AddFS(os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if err := compressed.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "messy.tar.xz")
	if err := os.WriteFile(name, packed.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestImportRejectsOnlyInvalidFiles(t *testing.T) {
	c := newTalksctl(t)
	c.createChannel(c.signUp(c.connect(transport.WebTier), "ada"), c.connect(transport.WebTier), "engines")
	root := writeCatalogue(t)
	output := c.run("import", root)
	rejected := 0
	for name, f := range messyCatalogue {
		line := regexp.MustCompile(`(?m)^rejected: \S*` + regexp.QuoteMeta(name) + `: (.*)$`).FindStringSubmatch(output)
		switch {
		case f.rejection == "" && line != nil:
			t.Errorf("%s: rejected: %s", name, line[1])
		case f.rejection != "" && line == nil:
			t.Errorf("%s: not rejected, want %q", name, f.rejection)
		case f.rejection != "" && !strings.Contains(line[1], f.rejection):
			t.Errorf("%s: rejected with %q, want %q", name, line[1], f.rejection)
		}
		if f.rejection != "" {
			rejected++
		}
	}
	talks := c.count(`select count(*) from talks.talk`)
	if want := 6; talks != want {
		t.Errorf("got %d talks, want %d", talks, want)
	}
	counts := fmt.Sprintf("%d files: 3 channels and %d talks added, 0 talks already present, %d files rejected, 3 ignored", len(messyCatalogue), talks, rejected)
	if !strings.Contains(output, counts) {
		t.Errorf("summary is not %q:\n%s", counts, output[max(0, len(output)-300):])
	}
	if t.Failed() {
		t.Log(output)
	}
	// Importing again, from the folder or from an archive, adds nothing.
	for _, source := range []string{root, packCatalogue(t, root)} {
		if output := c.run("import", source); !strings.Contains(output, fmt.Sprintf(" 0 channels and 0 talks added, %d talks already present", talks)) {
			t.Errorf("second import: got summary %s", output[max(0, len(output)-300):])
		}
	}
	response, err := talkspb.NewTalksClient(c.connect(transport.WebTier)).GetTalk(c.context(), &talkspb.GetTalkRequest{Name: "channels/spring-2024/talks/whole"})
	if err != nil {
		t.Fatal(err)
	}
	talk := response.Talk
	if talk.Title != "Écoute les <b>files</b>" || talk.Language != "fra" || len(talk.Tags) != 1 || talk.RecordedDate != "2024-03-01" || talk.Duration.AsDuration() != 30*time.Minute {
		t.Errorf("got talk %v", talk)
	}
}

func TestImportCanBeRepeatedAfterInterruption(t *testing.T) {
	const talks = 4000
	c := newTalksctl(t)
	root := t.TempDir()
	for n := range talks {
		path := filepath.Join(root, fmt.Sprintf("event-%d", n%40), "videos", fmt.Sprintf("talk-%d.json", n))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, fmt.Appendf(nil, `{"title": "Talk %d"}`, n), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The logic tier continues an uploaded import; the second run finds its talks.
	interrupted := c.command("import", root)
	if err := interrupted.Start(); err != nil {
		t.Fatal(err)
	}
	superuser := c.database.Superuser()
	c.waitFor("the first talks", func() bool {
		var exists bool
		return superuser.QueryRow(`select exists (select from talks.talk)`).Scan(&exists) == nil && exists
	})
	if err := interrupted.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = interrupted.Wait()
	if got := c.count(`select count(*) from talks.talk`); got == talks {
		t.Log("the import finished before talksctl was killed, so the second run tests less")
	}
	c.run("import", root)
	if got := c.count(`select count(*) from talks.talk`); got != talks {
		t.Errorf("after the second run: got %d talks, want %d", got, talks)
	}
	if got := c.count(`select sum(talk_count) from talks.channel`); got != talks {
		t.Errorf("sum of the channels' talk_count: got %d, want %d", got, talks)
	}
}

// A detached import runs to its end, and can be watched later.
func TestDetachedImportCanBeWatched(t *testing.T) {
	c := newTalksctl(t)
	root := writeCatalogue(t)
	name := strings.TrimSpace(lastLine(c.run("import", "--detach", packCatalogue(t, root))))
	if !regexp.MustCompile(`^operations/[a-z2-7]+$`).MatchString(name) {
		t.Fatalf("last line: got %q, want an operation's name", name)
	}
	for range 2 {
		if output := c.run("watch", name); !strings.Contains(output, " 7 talks added, 0 talks already present, 13 files rejected") || !strings.Contains(output, "broken/category.json: no title") {
			t.Errorf("watch: got %s", output)
		}
	}
	if output := c.run("operations"); !strings.Contains(output, name) || !strings.Contains(output, "succeeded  100 %  Import of “messy.tar.xz”") {
		t.Errorf("operations: got %s", output)
	}
	if output := c.run("cancel", name); !strings.Contains(output, name) {
		t.Errorf("cancel: got %s", output)
	}
	if n := c.count(`select count(*) from media.upload`); n != 0 {
		t.Errorf("got %d uploads, want none left", n)
	}
}

// Ctrl-C stops following an import, but not the import.
func TestInterruptDoesNotCancelImport(t *testing.T) {
	const talks = 3000
	c := newTalksctl(t)
	root := t.TempDir()
	for n := range talks {
		path := filepath.Join(root, "event", "videos", fmt.Sprintf("talk-%d.json", n))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, fmt.Appendf(nil, `{"title": "Talk %d"}`, n), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	following := c.command("import", root)
	stdout, err := following.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	following.Stderr = &stderr
	if err := following.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan() && !strings.HasPrefix(lines.Text(), "operations/"); {
	}
	if err := following.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := following.Wait(); err == nil {
		t.Log("the import finished before talksctl was interrupted")
	} else if !strings.Contains(stderr.String(), `"talksctl watch operations/`) {
		t.Errorf("stderr: got %s, want the command to follow again", &stderr)
	}
	c.waitFor("all talks", func() bool { return c.count(`select count(*) from talks.talk`) == talks })
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// An account can import its own archive again, but not another account's.
func TestExportedArchiveCanBeImportedByItsOwner(t *testing.T) {
	r := startTier(t)
	web := r.connect(transport.WebTier)
	ada := r.signUp(web, "ada")
	r.createChannel(ada, web, "engines")
	if _, err := talkspb.NewTalksClient(web).CreateTalk(ada, &talkspb.CreateTalkRequest{Parent: "channels/engines", Talk: &talkspb.Talk{Title: "10 notes", Speakers: []string{"Ada"}, Language: "eng", Tags: []string{"looms"}, Description: "On *looms*."}}); err != nil {
		t.Fatal(err)
	}
	operation, err := transferspb.NewTransfersClient(web).ExportArchive(ada, &transferspb.ExportArchiveRequest{RequestId: "0000000a-0000-4000-8000-000000000000"})
	if err != nil {
		t.Fatal(err)
	}
	var export transferspb.ExportArchiveResponse
	r.result(ada, web, operation.Name, &export)
	archive := r.readFile(ada, web, export.File)
	if export.Talks != 1 || int64(len(archive)) != export.Size {
		t.Errorf("got response %v for an archive of %d bytes", &export, len(archive))
	}
	grace := r.signUp(web, "grace")
	if _, err := mediapb.NewMediaClient(web).GetFile(grace, &mediapb.GetFileRequest{Name: export.File}); status.Code(err) != codes.NotFound {
		t.Errorf("GetFile of another account's archive: got %v, want NOT_FOUND", err)
	}
	_, err = transferspb.NewTransfersClient(web).ImportCatalogue(grace, &transferspb.ImportCatalogueRequest{Upload: export.File, RequestId: "0000000b-0000-4000-8000-000000000000"})
	if reason(err) != "UPLOAD_NOT_FOUND" {
		t.Errorf("import of another account's archive: got %v, want UPLOAD_NOT_FOUND", err)
	}
	// The talks of ada's own channel are already present.
	operation, err = transferspb.NewTransfersClient(web).ImportCatalogue(ada, &transferspb.ImportCatalogueRequest{Upload: export.File, RequestId: "0000000c-0000-4000-8000-000000000000"})
	if err != nil {
		t.Fatal(err)
	}
	var counts transferspb.ImportCatalogueResponse
	r.result(ada, web, operation.Name, &counts)
	if want := (&transferspb.ImportCatalogueResponse{Files: 2, TalksPresent: 1}); !proto.Equal(&counts, want) {
		t.Errorf("got %v, want %v", &counts, want)
	}
}

// result waits until an operation is done, and unmarshals its response into result.
func (r *testTier) result(ctx context.Context, connection grpc.ClientConnInterface, operation string, result proto.Message) {
	r.t.Helper()
	handles := longrunningpb.NewOperationsClient(connection)
	var o *longrunningpb.Operation
	r.waitFor(operation+" to be done", func() (done bool) {
		var err error
		if o, err = handles.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: operation, Timeout: durationpb.New(5 * time.Second)}); err != nil {
			r.t.Fatal(err)
		}
		return o.Done
	})
	if o.GetResponse() == nil {
		r.t.Fatalf("%s failed: %v", operation, o.GetError())
	}
	if err := o.GetResponse().UnmarshalTo(result); err != nil {
		r.t.Fatal(err)
	}
}

// readFile reads a file from the media module.
func (r *testTier) readFile(ctx context.Context, connection grpc.ClientConnInterface, name string) (content []byte) {
	r.t.Helper()
	stream, err := mediapb.NewMediaClient(connection).ReadFile(ctx, &mediapb.ReadFileRequest{Name: name})
	if err != nil {
		r.t.Fatal(err)
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return content
		}
		if err != nil {
			r.t.Fatal(err)
		}
		content = append(content, chunk.Data...)
	}
}

func TestTalksctlReportsErrors(t *testing.T) {
	c := newTalksctl(t)
	plain := filepath.Join(t.TempDir(), "plain.tar.xz")
	if err := os.WriteFile(plain, []byte("not packed"), 0o644); err != nil {
		t.Fatal(err)
	}
	for want, arguments := range map[string][]string{
		"command required":             nil,
		"catalogue required":           {"import"},
		"operation required":           {"watch"},
		"too many arguments":           {"operations", "all"},
		"operations/nothing not found": {"watch", "operations/nothing"},
		"nowhere does not exist":       {"import", "nowhere"},
		"unsupported archive format":   {"import", plain},
		"is neither a folder nor":      {"import", os.Args[0]},
		`unknown command "swim"`:       {"swim"},
		"set --certificates":           {"import", "--certificates", t.TempDir(), plain},
		"connection refused":           {"import", "--logic-address", "127.0.0.1:1", writeCatalogue(t)},
	} {
		output, err := c.command(arguments...).CombinedOutput()
		if err == nil || !strings.Contains(string(output), want) || strings.Contains(string(output), "goroutine") {
			t.Errorf("talksctl %v: got %v, want a failure with %q and no stack trace:\n%s", arguments, err, want, output)
		}
	}
}
