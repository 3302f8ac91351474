package transfers_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/modules/transfers"
	"techtalks.example/logic-tier/platform/caller"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

func TestImportReadsEveryArchiveFormat(t *testing.T) {
	t.Parallel()
	files := append(catalogue(50, 3), packedFile{"all/LICENSE", "free"}, packedFile{"all/event-0/recordings/big.mp4", strings.Repeat("x", 2<<20)},
		packedFile{"all/event-0/videos/big.json", strings.Repeat("x", 1<<20+1)})
	for name, pack := range packers {
		t.Run(name, func(t *testing.T) {
			e := newEnvironment(t)
			want := &transferspb.ImportCatalogueResponse{Files: 56, ChannelsCreated: 3, TalksCreated: 45, Rejected: 6, Ignored: 2}
			operation := e.startImport(e.operatorContext(), pack(t, files))
			if err := e.deliver(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if got := e.counts(operation); !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if op := e.operations.get(operation); op.done != op.total || op.total == 0 || op.created.Title != "Import of “catalogue”" {
				t.Errorf("%s: got %d of %d %s done", op.created.Title, op.done, op.total, op.unit)
			}
			rejections := e.rejections(e.operatorContext(), operation)
			if len(rejections) != 6 || rejections["all/event-0/videos/big.json"] != "larger than 1 MiB" || !strings.Contains(rejections["all/event-0/videos/talk-9.json"], "no title") {
				t.Errorf("got rejections %v", rejections)
			}
			if n := e.media.uploadCount(); n != 0 {
				t.Errorf("got %d uploads, want none", n)
			}
			// A second import changes nothing.
			want = &transferspb.ImportCatalogueResponse{Files: 56, TalksPresent: 45, Rejected: 6, Ignored: 2}
			if got := e.runImport(e.operatorContext(), pack(t, files)); !proto.Equal(got, want) {
				t.Errorf("second import: got %v, want %v", got, want)
			}
			if n := e.count(`select count(*) from talks.talk`); n != 45 {
				t.Errorf("got %d talks, want 45", n)
			}
		})
	}
}

// Every worker is killed after its first checkpoint, and another one resumes.
func TestImportResumesFromCheckpoint(t *testing.T) {
	t.Parallel()
	for name, pack := range packers {
		t.Run(name, func(t *testing.T) {
			e := newEnvironment(t)
			operation := e.startImport(e.operatorContext(), pack(t, catalogue(1990, 4)))
			kills := 0
			for e.operations.get(operation).finished == nil {
				ctx, kill := context.WithCancel(t.Context())
				var once sync.Once
				e.operations.onCheckpoint(func() { once.Do(func() { kills++; kill() }) })
				before := e.operations.get(operation).done
				_ = e.deliver(ctx, operation)
				kill()
				if now := e.operations.get(operation).done; now < before {
					t.Fatalf("progress went back from %d to %d", before, now)
				}
				if kills > 20 {
					t.Fatal("the import does not finish")
				}
			}
			if kills < 4 {
				t.Errorf("got %d kills, want at least 4", kills)
			}
			want := &transferspb.ImportCatalogueResponse{Files: 1994, ChannelsCreated: 4, TalksCreated: 1791, Rejected: 199}
			if got := e.counts(operation); !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if n := len(e.rejections(e.operatorContext(), operation)); n != 199 {
				t.Errorf("got %d rejections, want 199", n)
			}
			if n := e.count(`select count(*) from talks.talk`); n != 1791 {
				t.Errorf("got %d talks, want 1791", n)
			}
			if n := e.media.uploadCount(); n != 0 {
				t.Errorf("got %d uploads, want none", n)
			}
		})
	}
}

// Workers fail repeatedly between importing a batch and saving the checkpoint.
func TestRetriedBatchIsCountedOnce(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	operation := e.startImport(e.operatorContext(), packGzip(t, catalogue(1990, 4)))
	saves := 0
	e.operations.failCheckpoint = func() bool { saves++; return saves%3 != 0 }
	for e.operations.get(operation).finished == nil {
		if _ = e.deliver(t.Context(), operation); saves > 100 {
			t.Fatal("the import does not finish")
		}
	}
	want := &transferspb.ImportCatalogueResponse{Files: 1994, ChannelsCreated: 4, TalksCreated: 1791, Rejected: 199}
	if got := e.counts(operation); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := len(e.rejections(e.operatorContext(), operation)); n != 199 {
		t.Errorf("got %d rejections, want 199", n)
	}
}

func TestCancelledImportDeletesItsUpload(t *testing.T) {
	t.Parallel()
	for _, after := range []int{0, 1, 2} {
		e := newEnvironment(t)
		operation := e.startImport(e.operatorContext(), packGzip(t, catalogue(1200, 2)))
		op := e.operations.get(operation)
		if after == 0 {
			close(op.cancel)
		}
		e.operations.onCheckpoint(func() {
			if op.saved == after {
				close(op.cancel)
			}
		})
		if err := e.deliver(t.Context(), operation); err != nil {
			t.Fatal(err)
		}
		if !op.finished.GetCancelled() {
			t.Errorf("got %v, want cancelled", op.finished)
		}
		if n := e.media.uploadCount(); n != 0 {
			t.Errorf("got %d uploads, want none", n)
		}
	}
}

func TestImportRejectsFilesWithInvalidPaths(t *testing.T) {
	t.Parallel()
	files := append(catalogue(5, 1),
		packedFile{"../event/videos/up.json", `{"title": "Up"}`}, packedFile{"/etc/videos/root.json", `{"title": "Root"}`},
		packedFile{`event\videos\back.json`, `{"title": "Back"}`}, packedFile{"event/videos/../../../x", "x"})
	for name, pack := range packers {
		t.Run(name, func(t *testing.T) {
			e := newEnvironment(t)
			operation := e.startImport(e.operatorContext(), pack(t, files))
			if err := e.deliver(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			rejections := e.rejections(e.operatorContext(), operation)
			if len(rejections) != 4 {
				t.Errorf("got rejections %v, want 4", rejections)
			}
			for path, want := range map[string]string{
				"../event/videos/up.json": "leads out", "/etc/videos/root.json": "path is absolute", `event\videos\back.json`: "backslash", "event/videos/../../../x": "leads out",
			} {
				if !strings.Contains(rejections[path], want) {
					t.Errorf("%s: got %q, want %q", path, rejections[path], want)
				}
			}
			if n := e.count(`select count(*) from talks.talk`); n != 5 {
				t.Errorf("got %d talks, want 5", n)
			}
		})
	}
}

// An unreadable archive fails the import. What was imported before is kept, and the
// upload is deleted.
func TestImportOfUnreadableArchiveFails(t *testing.T) {
	t.Parallel()
	complete := packGzip(t, append(catalogue(3000, 2), packedFile{"all/x/videos/noise.json", noise(200_000)}))
	zeros := packedFile{"all/zeros", strings.Repeat("\x00", 70<<20)}
	badChecksum := packGzip(t, catalogue(20, 1))
	badChecksum[len(badChecksum)-6] ^= 0xff
	corrupted := packXZ(t, catalogue(200, 2))
	corrupted[len(corrupted)/2] ^= 0xff
	for name, c := range map[string]struct {
		content         []byte
		reason, message string
		partial         bool // some talks are imported
	}{
		"not an archive":    {content: []byte(strings.Repeat("not packed ", 100)), reason: "ARCHIVE_UNREADABLE", message: "pack the folder as a .tar"},
		"one byte":          {content: []byte("x"), reason: "ARCHIVE_UNREADABLE", message: "pack the folder as a .tar"},
		"only a .gz header": {content: []byte("\x1f\x8b\x08\x00"), reason: "ARCHIVE_UNREADABLE", message: "pack the folder as a .tar"},
		"truncated .zip":    {content: packZip(t, catalogue(20, 1))[:900], reason: "ARCHIVE_UNREADABLE", message: "damaged"},
		"truncated .tar.gz": {content: complete[:len(complete)-150_000], reason: "ARCHIVE_UNREADABLE", message: "talks added", partial: true},
		"wrong checksum":    {content: badChecksum, reason: "ARCHIVE_UNREADABLE", message: "damaged", partial: true},
		"corrupted .tar.xz": {content: corrupted, reason: "ARCHIVE_UNREADABLE", message: "damaged", partial: true},
		"bomb, .tar.gz":     {content: packGzip(t, append(catalogue(20, 1), zeros, packedFile{"all/e/videos/last.json", "{}"})), reason: "ARCHIVE_TOO_LARGE", message: "more than 200 times its size", partial: true},
		"bomb, .zip":        {content: packZip(t, bombs()), reason: "ARCHIVE_TOO_LARGE", message: "more than 200 times its size"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnvironment(t)
			operation := e.startImport(e.operatorContext(), c.content)
			if err := e.deliver(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if reason, message := e.failure(operation); reason != c.reason || !strings.Contains(message, c.message) {
				t.Errorf("got %s: %q, want %s: %q", reason, message, c.reason, c.message)
			}
			if n := e.count(`select count(*) from talks.talk`); (n > 0) != c.partial {
				t.Errorf("got %d talks, want some: %v", n, c.partial)
			}
			if n := e.media.uploadCount(); n != 0 {
				t.Errorf("got %d uploads, want none", n)
			}
		})
	}
}

// noise returns data that does not compress.
func noise(size int) string {
	b := make([]byte, size)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

// bombs returns files of blanks, each of the maximum size.
func bombs() (files []packedFile) {
	for i := range 80 {
		files = append(files, packedFile{fmt.Sprintf("all/e/videos/%d.json", i), strings.Repeat(" ", 1<<20)})
	}
	return files
}

func TestImportOfAUserRespectsOwnershipAndQuota(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	for _, c := range []struct {
		owner caller.Person
		slug  string
	}{{ada, "adas"}, {grace, "graces"}} {
		if _, err := e.channels.CreateChannel(e.userContext(c.owner), &talkspb.CreateChannelRequest{ChannelId: c.slug, Title: c.slug}); err != nil {
			t.Fatal(err)
		}
	}
	e.runImport(e.operatorContext(), packTar(t, []packedFile{{"old/category.json", `{"title": "Old"}`}}))
	var files []packedFile
	for _, slug := range []string{"adas", "graces", "old"} {
		files = append(files, packedFile{slug + "/videos/talk.json", `{"title": "Talk"}`})
	}
	for i := range 25 {
		files = append(files, packedFile{fmt.Sprintf("new-%02d/category.json", i), `{"title": "New", "description": "What is new"}`}, packedFile{fmt.Sprintf("new-%02d/videos/talk.json", i), `{"title": "Talk"}`})
	}
	operation := e.startImport(e.userContext(ada), packZip(t, files))
	if err := e.deliver(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	want := &transferspb.ImportCatalogueResponse{Files: 53, ChannelsCreated: 19, TalksCreated: 20, Rejected: 14}
	if got := e.counts(operation); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	rejections := e.rejections(e.userContext(ada), operation)
	for path, want := range map[string]string{
		"graces/videos/talk.json": "channels/graces belongs to accounts/grace", "old/videos/talk.json": "channels/old already exists and is not yours",
		"new-19/videos/talk.json": "you have 20 channels", "new-24/category.json": "you have 20 channels",
	} {
		if !strings.Contains(rejections[path], want) {
			t.Errorf("%s: got %q, want %q", path, rejections[path], want)
		}
	}
	response, err := e.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: "channels/new-00"})
	if err != nil || response.Channel.Owner != "accounts/ada" || response.Channel.Title != "New" || response.Channel.Description != "What is new" {
		t.Errorf("got %v, %v; want ada's channel with the imported title and description", response, err)
	}
	// Only ada and the operator can list the rejections.
	if _, err := e.transfers.ListRejections(e.operatorContext(), &transferspb.ListRejectionsRequest{Operation: operation}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{operation, "operations/nothing", "x\x00\xff"} {
		_, err = e.transfers.ListRejections(e.userContext(grace), &transferspb.ListRejectionsRequest{Operation: name})
		if reasonOf(err) != "OPERATION_NOT_FOUND" {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestImportCatalogueChecksTheUpload(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	web := caller.With(t.Context(), caller.Call{Program: "web-tier"})
	incomplete, err := (*e.media).CreateUpload(t.Context(), &mediapb.CreateUploadRequest{AccountId: ada.ID})
	if err != nil {
		t.Fatal(err)
	}
	gracesUpload, operatorsUpload := e.media.put(grace.ID, "c.zip", nil), e.media.put(0, "c.zip", nil)
	for _, c := range []struct {
		ctx            context.Context
		upload, reason string
	}{
		{web, operatorsUpload, "SESSION_REQUIRED"},
		{e.userContext(ada), gracesUpload, "UPLOAD_NOT_FOUND"},
		{e.userContext(ada), operatorsUpload, "UPLOAD_NOT_FOUND"},
		{e.operatorContext(), gracesUpload, "UPLOAD_NOT_FOUND"},
		{e.userContext(ada), "uploads/none", "UPLOAD_NOT_FOUND"},
		{e.userContext(ada), incomplete.Upload.Name, "UPLOAD_INCOMPLETE"},
	} {
		_, err := e.transfers.ImportCatalogue(c.ctx, &transferspb.ImportCatalogueRequest{Upload: c.upload, RequestId: e.requestID()})
		if reasonOf(err) != c.reason {
			t.Errorf("%s: got %v, want %s", c.upload, err, c.reason)
		}
	}
	// A repeated request returns the same operation, even if its upload is deleted.
	request := &transferspb.ImportCatalogueRequest{Upload: e.media.put(ada.ID, "c.zip", packZip(t, catalogue(3, 1))), RequestId: strings.ToUpper("0000000a-0000-4000-8000-000000000000")}
	first, err := e.transfers.ImportCatalogue(e.userContext(ada), request)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.deliver(t.Context(), first.Name); err != nil {
		t.Fatal(err)
	}
	if second, err := e.transfers.ImportCatalogue(e.userContext(ada), request); err != nil || second.Name != first.Name {
		t.Errorf("got %v, %v; want %s", second, err, first.Name)
	}
	// A message redelivered after the import has finished changes nothing.
	if err := e.deliver(t.Context(), first.Name); err != nil {
		t.Error(err)
	}
}

// A worker is killed between the last checkpoint and the end of the operation, when the
// upload is already deleted.
func TestImportSucceedsWhenKilledAfterLastCheckpoint(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	operation := e.startImport(e.operatorContext(), packTar(t, catalogue(30, 2)))
	if err := e.deliver(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	want := e.counts(operation)
	e.operations.get(operation).finished = nil
	if err := e.deliver(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	if got := e.counts(operation); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSweepDeletesExpiredRows(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	operation := e.startImport(e.operatorContext(), packTar(t, catalogue(100, 2)))
	if err := e.deliver(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{`update transfers.import set created_at = now() - interval '9 days'`, `update transfers.rejection set created_at = now() - interval '9 days' where number % 2 = 0`} {
		if _, err := e.admin.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	before := e.count(`select count(*) from transfers.rejection where created_at > now() - interval '1 day'`)
	if err := transfers.SweepOnce(e.module, t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := e.count(`select count(*) from transfers.rejection`); n != before {
		t.Errorf("got %d rejections, want %d", n, before)
	}
	if n := e.count(`select count(*) from transfers.import`); n != 0 {
		t.Errorf("got %d imports, want none", n)
	}
}
