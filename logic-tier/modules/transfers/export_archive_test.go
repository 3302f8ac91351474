package transfers_test

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"techtalks.example/logic-tier/platform/caller"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// filled makes ada two channels: one with so many talks, every third with a
// recording that is kept here, and an empty one.
func (s *site) filled(talks int) {
	s.t.Helper()
	for _, slug := range []string{"engines", "empty"} {
		if _, err := s.channels.CreateChannel(s.as(ada), &talkspb.CreateChannelRequest{ChannelId: slug, Title: "About " + slug, Description: "All <about> " + slug}); err != nil {
			s.t.Fatal(err)
		}
	}
	r := &talkspb.BatchImportTalksRequest{OwnerId: ada.ID, OwnerHandle: ada.Handle, Channels: []*talkspb.Channel{{Name: "channels/engines"}}}
	for i := range talks {
		r.Talks = append(r.Talks, &talkspb.Talk{
			Name: fmt.Sprintf("channels/engines/talks/%d-talk", i), Title: fmt.Sprintf("Talk <%d> & more", i), Speakers: []string{"Zoë", "Bob"}, Language: "fra",
			Tags: []string{"looms", "numbers"}, Description: fmt.Sprintf("# Number %d\n\n*All* of it.", i), MediaUrl: fmt.Sprintf("https://videos.example/%d?a=1&b=2", i),
			Duration: durationpb.New(1234e9), RecordedDate: "2019-05-03",
		})
	}
	if _, err := s.talks.BatchImportTalks(s.t.Context(), r); err != nil {
		s.t.Fatal(err)
	}
	for i := range talks {
		if i%3 == 0 {
			s.media.recordings[fmt.Sprint(i)] = []byte(noise(1000 + i*7_001))
		}
	}
	if _, err := s.admin.Exec(`
		update talks.talk set recording = 'recordings/' || split_part(slug, '-', 1), media_url = ''
		where  split_part(slug, '-', 1)::int % 3 = 0`); err != nil {
		s.t.Fatal(err)
	}
}

// export begins an export of ada's.
func (s *site) export(parent string) string {
	s.t.Helper()
	answer, err := s.transfers.ExportArchive(s.as(ada), &transferspb.ExportArchiveRequest{Parent: parent, RequestId: s.request()})
	if err != nil {
		s.t.Fatal(err)
	}
	return answer.Name
}

// unpacked reads an archive as people's programs do, each file with its checksum.
func (s *site) unpacked(response *transferspb.ExportArchiveResponse) map[string]string {
	s.t.Helper()
	content := s.media.content(response.File)
	if int64(len(content)) != response.Size {
		s.t.Fatalf("%s has %d bytes, not %d", response.File, len(content), response.Size)
	}
	r, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		s.t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range r.File {
		if _, twice := files[f.Name]; twice {
			s.t.Errorf("%s is there twice", f.Name)
		}
		from, err := f.Open()
		if err != nil {
			s.t.Fatal(err)
		}
		inside, err := io.ReadAll(from)
		if err != nil {
			s.t.Fatalf("%s: %v", f.Name, err)
		}
		files[f.Name] = string(inside)
	}
	return files
}

func (s *site) exported(operation string) *transferspb.ExportArchiveResponse {
	s.t.Helper()
	response := &transferspb.ExportArchiveResponse{}
	s.response(operation, response)
	return response
}

// What is exported can be imported elsewhere, and is the same.
func TestAnArchiveIsACatalogue(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.filled(250)
	operation := s.export("")
	if err := s.work(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	response := s.exported(operation)
	if response.Talks != 250 || response.Recordings != 84 {
		t.Errorf("it says %v", response)
	}
	files := s.unpacked(response)
	if len(files) != 250+84+2 {
		t.Errorf("%d files are in it", len(files))
	}
	if files["engines/recordings/3-talk.webm"] != string(s.media.recordings["3"]) {
		t.Error("a recording is another")
	}
	if text := files["engines/videos/1-talk.json"]; !strings.Contains(text, `"title": "Talk <1> & more"`) || !strings.Contains(text, `"url": "https://videos.example/1?a=1&b=2"`) {
		t.Errorf("a talk's file is %s", text)
	}
	if n := s.count(`select count(*) from transfers.archived`); n != 0 {
		t.Errorf("%d entries stay", n)
	}
	archive := s.media.content(response.File)
	want := s.all("channels/engines")
	// At home nothing is new.
	again := s.begunBy(ada, archive)
	if err := s.work(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if got := s.counts(again); got.TalksCreated != 0 || got.TalksPresent != 250 || got.Ignored != 84 || got.Rejected != 0 {
		t.Errorf("at home: %v", got)
	}
	elsewhere := newSite(t)
	if got := elsewhere.imported(elsewhere.as(grace), archive); got.TalksCreated != 250 || got.ChannelsCreated != 2 || got.Rejected != 0 {
		t.Errorf("elsewhere: %v", got)
	}
	got := elsewhere.all("channels/engines")
	for name, talk := range want {
		talk.Recording = ""
		if !proto.Equal(got[name], talk) {
			t.Fatalf("%s is\n%v, and was\n%v", name, got[name], talk)
		}
	}
	channel, err := elsewhere.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: "channels/engines"})
	if err != nil || channel.Channel.Title != "About engines" || channel.Channel.Description != "All <about> engines" || channel.Channel.Owner != "accounts/grace" {
		t.Errorf("%v, %v", channel, err)
	}
}

func (s *site) begunBy(p caller.Person, content []byte) string { return s.begun(s.as(p), content) }

// all returns a channel's talks, without when they came.
func (s *site) all(channel string) map[string]*talkspb.Talk {
	s.t.Helper()
	all := map[string]*talkspb.Talk{}
	for token := ""; ; {
		answer, err := s.talks.ListWholeTalks(s.t.Context(), &talkspb.ListWholeTalksRequest{Parent: channel, PageSize: 100, PageToken: token})
		if err != nil {
			s.t.Fatal(err)
		}
		for _, t := range answer.Talks {
			t.PublishTime, t.UpdateTime = nil, nil
			all[t.Name] = t
		}
		if token = answer.NextPageToken; token == "" {
			return all
		}
	}
}

// A worker is stopped at every message that it sends and at every checkpoint that
// it saves; another goes on. What is in the end is what would have been.
func TestAnExportThatIsKilledGoesOn(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"message", "checkpoint"} {
		t.Run(at, func(t *testing.T) {
			s := newSite(t)
			s.filled(130)
			quiet := s.export("")
			if err := s.work(t.Context(), quiet); err != nil {
				t.Fatal(err)
			}
			want := s.unpacked(s.exported(quiet))
			whole := s.exported(quiet).Size
			before := s.media.sentSoFar()
			operation := s.export("")
			kills, met := 0, 0
			var counting sync.Mutex // the call of a worker that was stopped may end after it
			for s.operations.of(operation).finished == nil {
				ctx, kill := context.WithCancel(t.Context())
				strike := func() {
					counting.Lock()
					defer counting.Unlock()
					if met++; met%3 == 1 {
						kills++
						kill()
					}
				}
				if at == "message" {
					s.media.on(strike)
				} else {
					s.operations.on(strike)
				}
				_ = s.work(ctx, operation)
				kill()
			}
			counting.Lock()
			defer counting.Unlock()
			if kills < 10 {
				t.Errorf("it was killed %d times only", kills)
			}
			got := s.unpacked(s.exported(operation))
			if !maps.Equal(got, want) {
				t.Errorf("%d files are in it, want %d; they differ: %v", len(got), len(want), differing(got, want))
			}
			if sent := s.media.sentSoFar() - before; sent > whole+whole/4 {
				t.Errorf("%d bytes were sent for an archive of %d", sent, whole)
			}
			if is := s.exported(operation); is.Talks != 130 || is.Recordings != 44 {
				t.Errorf("it says %v", is)
			}
			if n := s.media.count(); n != 2 {
				t.Errorf("%d uploads are there", n)
			}
		})
	}
}

// A worker that is only taken for dead goes on beside the one that has the export now,
// from whatever message on: what either does is no harm to the archive.
func TestAnExportThatTwoWorkersWrite(t *testing.T) {
	t.Parallel()
	for met, at := 0, 0; met >= at; at++ {
		s := newSite(t)
		s.filled(6)
		quiet := s.export("")
		if err := s.work(t.Context(), quiet); err != nil {
			t.Fatal(err)
		}
		want := s.unpacked(s.exported(quiet))
		operation := s.export("")
		var counting sync.Mutex
		met = 0
		s.media.on(func() {
			counting.Lock()
			met++
			second := met == at+1
			counting.Unlock()
			if second {
				_ = s.work(t.Context(), operation)
			}
		})
		for s.operations.of(operation).finished == nil {
			_ = s.work(t.Context(), operation)
		}
		if got := s.unpacked(s.exported(operation)); !maps.Equal(got, want) {
			t.Errorf("at message %d: %d files are in it, want %d; they differ: %v", at, len(got), len(want), differing(got, want))
		}
	}
}

func differing(a, b map[string]string) (names []string) {
	for name := range b {
		if a[name] != b[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Between two workers a talk is edited and another withdrawn with its recording
// half written: the archive can be read all the same.
func TestAnExportGoesOnWhateverChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.filled(60)
	operation := s.export("channels/engines")
	ctx, kill := context.WithCancel(t.Context())
	messages := 0
	s.media.on(func() {
		if messages++; messages == 4 {
			kill()
		}
	})
	_ = s.work(ctx, operation)
	s.media.on(nil)
	s.media.mu.Lock()
	clear(s.media.recordings)
	s.media.mu.Unlock()
	if _, err := s.admin.Exec(`update talks.talk set title = title || ' (edited)'`); err != nil {
		t.Fatal(err)
	}
	if err := s.work(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	response := s.exported(operation)
	files := s.unpacked(response)
	if response.Talks != 60 || int64(len(files)) != 61+response.Recordings {
		t.Errorf("it says %v, and has %d files", response, len(files))
	}
}

func TestAnExportThatIsCancelledLeavesNothing(t *testing.T) {
	t.Parallel()
	for step := range 12 {
		s := newSite(t)
		s.filled(40)
		operation := s.export("")
		is := s.operations.of(operation)
		met := 0
		strike := func() {
			if met++; met == step {
				close(is.cancel)
			}
		}
		s.media.on(strike)
		s.operations.on(strike)
		if step == 0 {
			close(is.cancel)
		}
		if err := s.work(t.Context(), operation); err != nil {
			t.Fatal(err)
		}
		if !is.finished.GetCancelled() {
			t.Errorf("step %d: it ended with %v", step, is.finished)
		}
		if n := s.media.count(); n != 0 {
			t.Errorf("step %d: %d uploads stay", step, n)
		}
		if n := s.count(`select count(*) from transfers.archived`); n != 0 {
			t.Errorf("step %d: %d entries stay", step, n)
		}
	}
}

func TestAnExportWithoutRoomSaysSo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.filled(40)
	s.media.quota = 500_000
	operation := s.export("")
	if err := s.work(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	if reason, message := s.failed(operation); reason != "QUOTA_EXCEEDED" || !strings.Contains(message, "remove something") {
		t.Errorf("%s: %s", reason, message)
	}
	if n := s.media.count(); n != 0 {
		t.Errorf("%d uploads stay", n)
	}
}

func TestWhatMayBeExported(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.filled(1)
	for _, c := range []struct {
		ctx            context.Context
		parent, reason string
	}{
		{s.as(grace), "channels/engines", "NOT_CHANNEL_OWNER"},
		{s.as(ada), "channels/nowhere", "CHANNEL_NOT_FOUND"},
		{caller.With(t.Context(), caller.Call{Program: "web-tier"}), "", "SESSION_REQUIRED"},
	} {
		_, err := s.transfers.ExportArchive(c.ctx, &transferspb.ExportArchiveRequest{Parent: c.parent, RequestId: s.request()})
		if reasonOf(err) != c.reason {
			t.Errorf("%s: got %v, want %s", c.parent, err, c.reason)
		}
	}
	// Who has nothing gets an archive of it.
	answer, err := s.transfers.ExportArchive(s.as(grace), &transferspb.ExportArchiveRequest{RequestId: s.request()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.work(t.Context(), answer.Name); err != nil {
		t.Fatal(err)
	}
	if files := s.unpacked(s.exported(answer.Name)); len(files) != 0 {
		t.Errorf("it has %v", files)
	}
	if is := s.exported(answer.Name); s.media.uploads[is.File].is.AccountId != grace.ID || s.media.uploads[is.File].is.FileName != "grace.zip" {
		t.Errorf("the upload is %v", s.media.uploads[is.File].is)
	}
}
