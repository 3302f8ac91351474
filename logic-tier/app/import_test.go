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

// talksctl is the operator's command line, as people run it.
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

// messy is a catalogue in pyvideo's layout as people leave them, and what is
// said of each file that cannot be taken.
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
	"spring-2024/videos/list.json":       {content: `["title"]`, rejection: "the file: JSON array where there should be an object"},
	"spring-2024/videos/number.json":     {content: `{"title": 7}`, rejection: "title: JSON number where there should be a string"},
	"spring-2024/videos/nameless.json":   {content: `{"speakers": ["Who"]}`, rejection: "no title"},
	"spring-2024/videos/blank.json":      {content: `{"title": " \u0000 "}`, rejection: "no title"},
	"spring-2024/videos/latin1.json":     {content: "{\"title\": \"caf\xe9\"}", rejection: "not UTF-8"},
	"spring-2024/videos/script.json":     {content: `{"title": "Trap", "videos": [{"url": "javascript:alert(1)"}]}`, rejection: "no link starts with https:// or http://"},
	"spring-2024/videos/when.json":       {content: `{"title": "When", "recorded": "last spring"}`, rejection: "recorded"},
	"spring-2024/videos/future.json":     {content: `{"title": "Future", "recorded": "2199-12-31"}`, rejection: "recorded_date: this day is in the future"},
	"spring-2024/videos/long.json":       {content: `{"title": "` + strings.Repeat("long ", 100) + `"}`, rejection: "title"},
	"spring-2024/videos/big.json":        {content: `{"title": "Big", "description": "` + strings.Repeat("x", 1<<20) + `"}`, rejection: "larger than 1 MiB"},
	"untitled/videos/talk.json":          {content: `{"title": "In a channel without a title"}`},
	"broken/category.json":               {content: `{"title": ""}`, rejection: "no title"},
	"engines/category.json":              {content: `{"title": "Taken over"}`, rejection: `belongs to accounts/ada`},
	"engines/videos/talk.json":           {content: `{"title": "Slipped in"}`, rejection: `belongs to accounts/ada`},
	"Weird Event (2024)/videos/ä ö.json": {content: `{"title": "Weird names"}`},
}

// folder writes the messy catalogue.
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

// archive packs a folder.
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

func TestAMessyCatalogueIsTakenAsFarAsItGoes(t *testing.T) {
	c := newTalksctl(t)
	c.createChannel(c.signUp(c.connect(transport.WebTier), "ada"), c.connect(transport.WebTier), "engines")
	root := writeCatalogue(t)
	output := c.run("import", root)
	rejected := 0
	for name, f := range messyCatalogue {
		line := regexp.MustCompile(`(?m)^not taken: \S*` + regexp.QuoteMeta(name) + `: (.*)$`).FindStringSubmatch(output)
		switch {
		case f.rejection == "" && line != nil:
			t.Errorf("%s is refused: %s", name, line[1])
		case f.rejection != "" && line == nil:
			t.Errorf("%s: no line says that it is not taken", name)
		case f.rejection != "" && !strings.Contains(line[1], f.rejection):
			t.Errorf("%s is refused with %q, want it to say %q", name, line[1], f.rejection)
		}
		if f.rejection != "" {
			rejected++
		}
	}
	talks := c.count(`select count(*) from talks.talk`)
	if want := 6; talks != want {
		t.Errorf("%d talks are there, want %d", talks, want)
	}
	counts := fmt.Sprintf("%d files: 3 channels and %d talks added, 0 talks there already, %d files not taken, 3 passed over", len(messyCatalogue), talks, rejected)
	if !strings.Contains(output, counts) {
		t.Errorf("the end is not %q:\n%s", counts, output[max(0, len(output)-300):])
	}
	if t.Failed() {
		t.Log(output)
	}
	// What it says twice is there once, from a folder or an archive.
	for _, source := range []string{root, packCatalogue(t, root)} {
		if output := c.run("import", source); !strings.Contains(output, fmt.Sprintf(" 0 channels and 0 talks added, %d talks there already", talks)) {
			t.Errorf("the second import ends with %s", output[max(0, len(output)-300):])
		}
	}
	response, err := talkspb.NewTalksClient(c.connect(transport.WebTier)).GetTalk(c.context(), &talkspb.GetTalkRequest{Name: "channels/spring-2024/talks/whole"})
	if err != nil {
		t.Fatal(err)
	}
	talk := response.Talk
	if talk.Title != "Écoute les <b>files</b>" || talk.Language != "fra" || len(talk.Tags) != 1 || talk.RecordedDate != "2024-03-01" || talk.Duration.AsDuration() != 30*time.Minute {
		t.Errorf("the talk is %v", talk)
	}
}

func TestAnInterruptedImportGoesOn(t *testing.T) {
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
	// The logic tier goes on with what was sent; a second run finds it there.
	interrupted := c.command("import", root)
	if err := interrupted.Start(); err != nil {
		t.Fatal(err)
	}
	superuser := c.database.Superuser()
	c.waitFor("the first talks", func() bool {
		var some bool
		return superuser.QueryRow(`select exists (select from talks.talk)`).Scan(&some) == nil && some
	})
	if err := interrupted.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = interrupted.Wait()
	if got := c.count(`select count(*) from talks.talk`); got == talks {
		t.Log("it was done before it was killed; the second run shows less")
	}
	c.run("import", root)
	if got := c.count(`select count(*) from talks.talk`); got != talks {
		t.Errorf("%d talks after the second run, want %d", got, talks)
	}
	if got := c.count(`select sum(talk_count) from talks.channel`); got != talks {
		t.Errorf("the channels count %d talks, want %d", got, talks)
	}
}

// An import goes on without whoever began it, and can be looked at again.
func TestAnImportIsFollowedOrLeft(t *testing.T) {
	c := newTalksctl(t)
	root := writeCatalogue(t)
	name := strings.TrimSpace(lastLine(c.run("import", "--detach", packCatalogue(t, root))))
	if !regexp.MustCompile(`^operations/[a-z2-7]+$`).MatchString(name) {
		t.Fatalf("it says %q", name)
	}
	for range 2 {
		if output := c.run("watch", name); !strings.Contains(output, " 7 talks added, 0 talks there already, 13 files not taken") || !strings.Contains(output, "broken/category.json: no title") {
			t.Errorf("watch says %s", output)
		}
	}
	if output := c.run("operations"); !strings.Contains(output, name) || !strings.Contains(output, "succeeded  100 %  Import of “messy.tar.xz”") {
		t.Errorf("operations says %s", output)
	}
	if output := c.run("cancel", name); !strings.Contains(output, name) {
		t.Errorf("cancel says %s", output)
	}
	if n := c.count(`select count(*) from media.upload`); n != 0 {
		t.Errorf("%d uploads stay", n)
	}
}

// Ctrl-C looks away from an import, and does not stop it.
func TestCtrlCOnlyLooksAway(t *testing.T) {
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
		t.Log("it was done before it was interrupted")
	} else if !strings.Contains(stderr.String(), `"talksctl watch operations/`) {
		t.Errorf("it ends with %s", &stderr)
	}
	c.waitFor("all of the talks", func() bool { return c.count(`select count(*) from talks.talk`) == talks })
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// What a person exports, with its recordings, another imports.
func TestAnArchiveGoesFromOnePersonToAnother(t *testing.T) {
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
		t.Errorf("it says %v, and has %d bytes", &export, len(archive))
	}
	// Nobody else sees it.
	grace := r.signUp(web, "grace")
	if _, err := mediapb.NewMediaClient(web).GetFile(grace, &mediapb.GetFileRequest{Name: export.File}); status.Code(err) != codes.NotFound {
		t.Errorf("somebody else's archive: %v", err)
	}
	_, err = transferspb.NewTransfersClient(web).ImportCatalogue(grace, &transferspb.ImportCatalogueRequest{Upload: export.File, RequestId: "0000000b-0000-4000-8000-000000000000"})
	if reason(err) != "UPLOAD_NOT_FOUND" {
		t.Errorf("somebody else's archive is imported: %v", err)
	}
	// Her own channel's talks are there already; elsewhere they would be new.
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

// result waits for an operation's end, and reads what it answers.
func (r *testTier) result(ctx context.Context, connection grpc.ClientConnInterface, operation string, result proto.Message) {
	r.t.Helper()
	handles := longrunningpb.NewOperationsClient(connection)
	var o *longrunningpb.Operation
	r.waitFor("the end of "+operation, func() (done bool) {
		var err error
		if o, err = handles.WaitOperation(ctx, &longrunningpb.WaitOperationRequest{Name: operation, Timeout: durationpb.New(5 * time.Second)}); err != nil {
			r.t.Fatal(err)
		}
		return o.Done
	})
	if o.GetResponse() == nil {
		r.t.Fatalf("%s ended with %v", operation, o.GetError())
	}
	if err := o.GetResponse().UnmarshalTo(result); err != nil {
		r.t.Fatal(err)
	}
}

// file reads a file of the media module's.
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

func TestTalksctlSaysWhatIsWrong(t *testing.T) {
	c := newTalksctl(t)
	plain := filepath.Join(t.TempDir(), "plain.tar.xz")
	if err := os.WriteFile(plain, []byte("not packed"), 0o644); err != nil {
		t.Fatal(err)
	}
	for says, arguments := range map[string][]string{
		"say what to do":                     nil,
		"say which catalogue":                {"import"},
		"say which operation to watch":       {"watch"},
		"there is no operations/nothing":     {"watch", "operations/nothing"},
		"there is no nowhere":                {"import", "nowhere"},
		"this is no archive of a kind":       {"import", plain},
		"is neither a folder nor":            {"import", os.Args[0]},
		`"swim" is nothing it can do`:        {"swim"},
		"say with --certificates or RUN_DIR": {"import", "--certificates", t.TempDir(), plain},
		"connection refused":                 {"import", "--logic-address", "127.0.0.1:1", writeCatalogue(t)},
	} {
		output, err := c.command(arguments...).CombinedOutput()
		if err == nil || !strings.Contains(string(output), says) || strings.Contains(string(output), "goroutine") {
			t.Errorf("talksctl %v: %v; want it to fail and say %q, not\n%s", arguments, err, says, output)
		}
	}
}
