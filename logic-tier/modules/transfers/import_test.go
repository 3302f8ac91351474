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

func TestArchivesOfEverySortAreTaken(t *testing.T) {
	t.Parallel()
	files := append(catalogue(50, 3), packed{"all/LICENSE", "free"}, packed{"all/event-0/recordings/big.mp4", strings.Repeat("x", 2<<20)},
		packed{"all/event-0/videos/big.json", strings.Repeat("x", 1<<20+1)})
	for name, pack := range packers {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			want := &transferspb.ImportCatalogueResponse{Files: 56, ChannelsCreated: 3, TalksCreated: 45, Rejected: 6, Ignored: 2}
			operation := s.begun(s.operator(), pack(t, files))
			if err := s.work(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if got := s.counts(operation); !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if is := s.operations.of(operation); is.done != is.total || is.total == 0 || is.created.Title != "Import of “catalogue”" {
				t.Errorf("it says of itself that it did %d of %d %s", is.done, is.total, is.unit)
			}
			refused := s.rejections(s.operator(), operation)
			if len(refused) != 6 || refused["all/event-0/videos/big.json"] != "larger than 1 MiB" || !strings.Contains(refused["all/event-0/videos/talk-9.json"], "no title") {
				t.Errorf("refused are %v", refused)
			}
			if n := s.media.count(); n != 0 {
				t.Errorf("%d uploads stay", n)
			}
			// What is there already stays.
			want = &transferspb.ImportCatalogueResponse{Files: 56, TalksPresent: 45, Rejected: 6, Ignored: 2}
			if got := s.imported(s.operator(), pack(t, files)); !proto.Equal(got, want) {
				t.Errorf("the second time got %v, want %v", got, want)
			}
			if n := s.count(`select count(*) from talks.talk`); n != 45 {
				t.Errorf("%d talks are there", n)
			}
		})
	}
}

// A worker is stopped after every checkpoint that it saves; another goes on.
func TestAnImportThatIsKilledGoesOn(t *testing.T) {
	t.Parallel()
	for name, pack := range packers {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			operation := s.begun(s.operator(), pack(t, catalogue(1990, 4)))
			kills := 0
			for s.operations.of(operation).finished == nil {
				ctx, kill := context.WithCancel(t.Context())
				var once sync.Once
				s.operations.on(func() { once.Do(func() { kills++; kill() }) })
				before := s.operations.of(operation).done
				_ = s.work(ctx, operation)
				kill()
				if now := s.operations.of(operation).done; now < before {
					t.Fatalf("it went back from %d to %d", before, now)
				}
				if kills > 20 {
					t.Fatal("it does not come to an end")
				}
			}
			if kills < 4 {
				t.Errorf("it was killed %d times only", kills)
			}
			want := &transferspb.ImportCatalogueResponse{Files: 1994, ChannelsCreated: 4, TalksCreated: 1791, Rejected: 199}
			if got := s.counts(operation); !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			if n := len(s.rejections(s.operator(), operation)); n != 199 {
				t.Errorf("%d files are refused", n)
			}
			if n := s.count(`select count(*) from talks.talk`); n != 1791 {
				t.Errorf("%d talks are there", n)
			}
			if n := s.media.count(); n != 0 {
				t.Errorf("%d uploads stay", n)
			}
		})
	}
}

// A worker is stopped between keeping a batch and saying so, again and again: what
// is counted is what came of it.
func TestABatchThatIsKeptAgainIsCountedOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	operation := s.begun(s.operator(), packGzip(t, catalogue(1990, 4)))
	saves := 0
	s.operations.lose = func() bool { saves++; return saves%3 != 0 }
	for s.operations.of(operation).finished == nil {
		if _ = s.work(t.Context(), operation); saves > 100 {
			t.Fatal("it does not come to an end")
		}
	}
	want := &transferspb.ImportCatalogueResponse{Files: 1994, ChannelsCreated: 4, TalksCreated: 1791, Rejected: 199}
	if got := s.counts(operation); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if n := len(s.rejections(s.operator(), operation)); n != 199 {
		t.Errorf("%d files are refused", n)
	}
}

func TestAnImportThatIsCancelledLeavesNoUpload(t *testing.T) {
	t.Parallel()
	for _, after := range []int{0, 1, 2} {
		s := newSite(t)
		operation := s.begun(s.operator(), packGzip(t, catalogue(1200, 2)))
		is := s.operations.of(operation)
		if after == 0 {
			close(is.cancel)
		}
		s.operations.on(func() {
			if is.saved == after {
				close(is.cancel)
			}
		})
		if err := s.work(t.Context(), operation); err != nil {
			t.Fatal(err)
		}
		if !is.finished.GetCancelled() {
			t.Errorf("it ended with %v", is.finished)
		}
		if n := s.media.count(); n != 0 {
			t.Errorf("%d uploads stay", n)
		}
	}
}

func TestPathsThatLeadElsewhereAreRefusedOneByOne(t *testing.T) {
	t.Parallel()
	files := append(catalogue(5, 1),
		packed{"../event/videos/up.json", `{"title": "Up"}`}, packed{"/etc/videos/root.json", `{"title": "Root"}`},
		packed{`event\videos\back.json`, `{"title": "Back"}`}, packed{"event/videos/../../../x", "x"})
	for name, pack := range packers {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			operation := s.begun(s.operator(), pack(t, files))
			if err := s.work(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			refused := s.rejections(s.operator(), operation)
			if len(refused) != 4 {
				t.Errorf("refused are %v", refused)
			}
			for path, want := range map[string]string{
				"../event/videos/up.json": "leads out", "/etc/videos/root.json": "root of a disk", `event\videos\back.json`: "backslash", "event/videos/../../../x": "leads out",
			} {
				if !strings.Contains(refused[path], want) {
					t.Errorf("%s is refused with %q", path, refused[path])
				}
			}
			if n := s.count(`select count(*) from talks.talk`); n != 5 {
				t.Errorf("%d talks are there", n)
			}
		})
	}
}

// What cannot be read says so, keeps what came before, and leaves no upload.
func TestBadArchives(t *testing.T) {
	t.Parallel()
	whole := packGzip(t, append(catalogue(3000, 2), packed{"all/x/videos/noise.json", noise(200_000)}))
	zeros := packed{"all/zeros", strings.Repeat("\x00", 70<<20)}
	summed := packGzip(t, catalogue(20, 1))
	summed[len(summed)-6] ^= 0xff
	spoilt := packXZ(t, catalogue(200, 2))
	spoilt[len(spoilt)/2] ^= 0xff
	for name, c := range map[string]struct {
		content      []byte
		reason, says string
		some         bool // of the talks are in
	}{
		"no archive":       {content: []byte(strings.Repeat("not packed ", 100)), reason: "ARCHIVE_UNREADABLE", says: "pack the folder as a .tar"},
		"a byte":           {content: []byte("x"), reason: "ARCHIVE_UNREADABLE", says: "pack the folder as a .tar"},
		"only a .gz":       {content: []byte("\x1f\x8b\x08\x00"), reason: "ARCHIVE_UNREADABLE", says: "pack the folder as a .tar"},
		"a .zip cut":       {content: packZip(t, catalogue(20, 1))[:900], reason: "ARCHIVE_UNREADABLE", says: "damaged"},
		"a .tar.gz cut":    {content: whole[:len(whole)-150_000], reason: "ARCHIVE_UNREADABLE", says: "were added", some: true},
		"a checksum":       {content: summed, reason: "ARCHIVE_UNREADABLE", says: "damaged", some: true},
		"a .tar.xz spoilt": {content: spoilt, reason: "ARCHIVE_UNREADABLE", says: "damaged", some: true},
		"a bomb, .tar.gz":  {content: packGzip(t, append(catalogue(20, 1), zeros, packed{"all/e/videos/last.json", "{}"})), reason: "ARCHIVE_TOO_LARGE", says: "more than 200 times its size", some: true},
		"a bomb, .zip":     {content: packZip(t, bombs()), reason: "ARCHIVE_TOO_LARGE", says: "more than 200 times its size"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			operation := s.begun(s.operator(), c.content)
			if err := s.work(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if reason, message := s.failed(operation); reason != c.reason || !strings.Contains(message, c.says) {
				t.Errorf("%s: %s, want %s: … %s …", reason, message, c.reason, c.says)
			}
			if n := s.count(`select count(*) from talks.talk`); (n > 0) != c.some {
				t.Errorf("%d talks are there", n)
			}
			if n := s.media.count(); n != 0 {
				t.Errorf("%d uploads stay", n)
			}
		})
	}
}

// noise is text that does not pack.
func noise(size int) string {
	b := make([]byte, size)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return string(b)
}

// bombs are files of blanks, each as large as a talk's may be.
func bombs() (files []packed) {
	for i := range 80 {
		files = append(files, packed{fmt.Sprintf("all/e/videos/%d.json", i), strings.Repeat(" ", 1<<20)})
	}
	return files
}

func TestAPersonsImport(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, c := range []struct {
		of   caller.Person
		slug string
	}{{ada, "adas"}, {grace, "graces"}} {
		if _, err := s.channels.CreateChannel(s.as(c.of), &talkspb.CreateChannelRequest{ChannelId: c.slug, Title: c.slug}); err != nil {
			t.Fatal(err)
		}
	}
	s.imported(s.operator(), packTar(t, []packed{{"old/category.json", `{"title": "Old"}`}}))
	var files []packed
	for _, slug := range []string{"adas", "graces", "old"} {
		files = append(files, packed{slug + "/videos/talk.json", `{"title": "Talk"}`})
	}
	for i := range 25 {
		files = append(files, packed{fmt.Sprintf("new-%02d/category.json", i), `{"title": "New", "description": "What is new"}`}, packed{fmt.Sprintf("new-%02d/videos/talk.json", i), `{"title": "Talk"}`})
	}
	operation := s.begun(s.as(ada), packZip(t, files))
	if err := s.work(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	want := &transferspb.ImportCatalogueResponse{Files: 53, ChannelsCreated: 19, TalksCreated: 20, Rejected: 14}
	if got := s.counts(operation); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	refused := s.rejections(s.as(ada), operation)
	for path, says := range map[string]string{
		"graces/videos/talk.json": "channels/graces belongs to accounts/grace", "old/videos/talk.json": "channels/old is there already and is not yours",
		"new-19/videos/talk.json": "you have 20 channels", "new-24/category.json": "you have 20 channels",
	} {
		if !strings.Contains(refused[path], says) {
			t.Errorf("%s is refused with %q", path, refused[path])
		}
	}
	answer, err := s.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: "channels/new-00"})
	if err != nil || answer.Channel.Owner != "accounts/ada" || answer.Channel.Title != "New" || answer.Channel.Description != "What is new" {
		t.Errorf("%v, %v", answer, err)
	}
	// Only ada and the operator know of it.
	if _, err := s.transfers.ListRejections(s.operator(), &transferspb.ListRejectionsRequest{Operation: operation}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{operation, "operations/nothing", "x\x00\xff"} {
		_, err = s.transfers.ListRejections(s.as(grace), &transferspb.ListRejectionsRequest{Operation: name})
		if reasonOf(err) != "OPERATION_NOT_FOUND" {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

func TestWhatMayBeImported(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	web := caller.With(t.Context(), caller.Call{Program: "web-tier"})
	begun, err := (*s.media).CreateUpload(t.Context(), &mediapb.CreateUploadRequest{AccountId: ada.ID})
	if err != nil {
		t.Fatal(err)
	}
	graces, operators := s.media.put(grace.ID, "c.zip", nil), s.media.put(0, "c.zip", nil)
	for _, c := range []struct {
		ctx            context.Context
		upload, reason string
	}{
		{web, operators, "SESSION_REQUIRED"},
		{s.as(ada), graces, "UPLOAD_NOT_FOUND"},
		{s.as(ada), operators, "UPLOAD_NOT_FOUND"},
		{s.operator(), graces, "UPLOAD_NOT_FOUND"},
		{s.as(ada), "uploads/none", "UPLOAD_NOT_FOUND"},
		{s.as(ada), begun.Upload.Name, "UPLOAD_INCOMPLETE"},
	} {
		_, err := s.transfers.ImportCatalogue(c.ctx, &transferspb.ImportCatalogueRequest{Upload: c.upload, RequestId: s.request()})
		if reasonOf(err) != c.reason {
			t.Errorf("%s: got %v, want %s", c.upload, err, c.reason)
		}
	}
	// The same again is the same operation, also when its upload is gone.
	again := &transferspb.ImportCatalogueRequest{Upload: s.media.put(ada.ID, "c.zip", packZip(t, catalogue(3, 1))), RequestId: strings.ToUpper("0000000a-0000-4000-8000-000000000000")}
	first, err := s.transfers.ImportCatalogue(s.as(ada), again)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.work(t.Context(), first.Name); err != nil {
		t.Fatal(err)
	}
	if second, err := s.transfers.ImportCatalogue(s.as(ada), again); err != nil || second.Name != first.Name {
		t.Errorf("%v, %v", second, err)
	}
	// Delivered again after its end, it changes nothing.
	if err := s.work(t.Context(), first.Name); err != nil {
		t.Error(err)
	}
}

// Stopped between the last checkpoint and its end, an import whose upload is gone
// has ended well all the same.
func TestAnImportKilledAtItsVeryEndSucceeds(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	operation := s.begun(s.operator(), packTar(t, catalogue(30, 2)))
	if err := s.work(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	want := s.counts(operation)
	s.operations.of(operation).finished = nil
	if err := s.work(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	if got := s.counts(operation); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestWhatIsOldIsSwept(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	operation := s.begun(s.operator(), packTar(t, catalogue(100, 2)))
	if err := s.work(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	for _, age := range []struct{ statement string }{{`update transfers.import set created_at = now() - interval '9 days'`}, {`update transfers.rejection set created_at = now() - interval '9 days' where number % 2 = 0`}} {
		if _, err := s.admin.Exec(age.statement); err != nil {
			t.Fatal(err)
		}
	}
	before := s.count(`select count(*) from transfers.rejection where created_at > now() - interval '1 day'`)
	if err := transfers.SweepOnce(s.module, t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.count(`select count(*) from transfers.rejection`); n != before {
		t.Errorf("%d rejections are there, want %d", n, before)
	}
	if n := s.count(`select count(*) from transfers.import`); n != 0 {
		t.Errorf("%d imports are there", n)
	}
}
