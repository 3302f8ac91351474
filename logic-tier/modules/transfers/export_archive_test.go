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

// createTalks creates two channels of ada: "engines" with the given number of talks,
// every third with a recording, and "empty".
func (e *environment) createTalks(talks int) {
	e.t.Helper()
	for _, slug := range []string{"engines", "empty"} {
		if _, err := e.channels.CreateChannel(e.userContext(ada), &talkspb.CreateChannelRequest{ChannelId: slug, Title: "About " + slug, Description: "All <about> " + slug}); err != nil {
			e.t.Fatal(err)
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
	if _, err := e.talks.BatchImportTalks(e.t.Context(), r); err != nil {
		e.t.Fatal(err)
	}
	for i := range talks {
		if i%3 == 0 {
			e.media.recordings[fmt.Sprint(i)] = []byte(noise(1000 + i*7_001))
		}
	}
	if _, err := e.admin.Exec(`
		update talks.talk set recording = 'recordings/' || split_part(slug, '-', 1), media_url = ''
		where  split_part(slug, '-', 1)::int % 3 = 0`); err != nil {
		e.t.Fatal(err)
	}
}

// startExport starts an export for ada and returns the operation's name.
func (e *environment) startExport(parent string) string {
	e.t.Helper()
	response, err := e.transfers.ExportArchive(e.userContext(ada), &transferspb.ExportArchiveRequest{Parent: parent, RequestId: e.requestID()})
	if err != nil {
		e.t.Fatal(err)
	}
	return response.Name
}

// unzip returns the files of an exported archive. It verifies their checksums.
func (e *environment) unzip(response *transferspb.ExportArchiveResponse) map[string]string {
	e.t.Helper()
	content := e.media.content(response.File)
	if int64(len(content)) != response.Size {
		e.t.Fatalf("%s: got %d bytes, want %d", response.File, len(content), response.Size)
	}
	r, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		e.t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range r.File {
		if _, listed := files[f.Name]; listed {
			e.t.Errorf("%s is listed twice", f.Name)
		}
		src, err := f.Open()
		if err != nil {
			e.t.Fatal(err)
		}
		data, err := io.ReadAll(src)
		if err != nil {
			e.t.Fatalf("%s: %v", f.Name, err)
		}
		files[f.Name] = string(data)
	}
	return files
}

// exportResponse returns the response of an export that must have succeeded.
func (e *environment) exportResponse(operation string) *transferspb.ExportArchiveResponse {
	e.t.Helper()
	response := &transferspb.ExportArchiveResponse{}
	e.response(operation, response)
	return response
}

// An exported archive can be imported, and the imported talks are the same.
func TestExportedArchiveCanBeImported(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	e.createTalks(250)
	operation := e.startExport("")
	if err := e.deliver(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	response := e.exportResponse(operation)
	if response.Talks != 250 || response.Recordings != 84 {
		t.Errorf("got %v, want 250 talks and 84 recordings", response)
	}
	files := e.unzip(response)
	if len(files) != 250+84+2 {
		t.Errorf("got %d files, want %d", len(files), 250+84+2)
	}
	if files["engines/recordings/3-talk.webm"] != string(e.media.recordings["3"]) {
		t.Error("a recording differs from the original")
	}
	if text := files["engines/videos/1-talk.json"]; !strings.Contains(text, `"title": "Talk <1> & more"`) || !strings.Contains(text, `"url": "https://videos.example/1?a=1&b=2"`) {
		t.Errorf("got talk file %s", text)
	}
	if n := e.count(`select count(*) from transfers.archived`); n != 0 {
		t.Errorf("got %d stored entries, want none", n)
	}
	archive := e.media.content(response.File)
	want := e.listTalks("channels/engines")
	// Importing the archive where it comes from changes nothing.
	again := e.startImport(e.userContext(ada), archive)
	if err := e.deliver(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if got := e.counts(again); got.TalksCreated != 0 || got.TalksPresent != 250 || got.Ignored != 84 || got.Rejected != 0 {
		t.Errorf("same environment: got %v", got)
	}
	other := newEnvironment(t)
	if got := other.runImport(other.userContext(grace), archive); got.TalksCreated != 250 || got.ChannelsCreated != 2 || got.Rejected != 0 {
		t.Errorf("other environment: got %v", got)
	}
	got := other.listTalks("channels/engines")
	for name, talk := range want {
		talk.Recording = ""
		if !proto.Equal(got[name], talk) {
			t.Fatalf("%s: got\n%v, want\n%v", name, got[name], talk)
		}
	}
	channel, err := other.channels.GetChannel(t.Context(), &talkspb.GetChannelRequest{Name: "channels/engines"})
	if err != nil || channel.Channel.Title != "About engines" || channel.Channel.Description != "All <about> engines" || channel.Channel.Owner != "accounts/grace" {
		t.Errorf("got %v, %v; want grace's channel with the exported title and description", channel, err)
	}
}

// listTalks returns a channel's talks by name, without their timestamps.
func (e *environment) listTalks(channel string) map[string]*talkspb.Talk {
	e.t.Helper()
	talks := map[string]*talkspb.Talk{}
	for token := ""; ; {
		response, err := e.talks.ListWholeTalks(e.t.Context(), &talkspb.ListWholeTalksRequest{Parent: channel, PageSize: 100, PageToken: token})
		if err != nil {
			e.t.Fatal(err)
		}
		for _, t := range response.Talks {
			t.PublishTime, t.UpdateTime = nil, nil
			talks[t.Name] = t
		}
		if token = response.NextPageToken; token == "" {
			return talks
		}
	}
}

// Workers are killed at messages that they send, or at checkpoints that they save, and
// others resume. The archive is the same as without interruptions.
func TestExportResumesFromCheckpoint(t *testing.T) {
	t.Parallel()
	for _, trigger := range []string{"message", "checkpoint"} {
		t.Run(trigger, func(t *testing.T) {
			e := newEnvironment(t)
			e.createTalks(130)
			undisturbed := e.startExport("")
			if err := e.deliver(t.Context(), undisturbed); err != nil {
				t.Fatal(err)
			}
			want := e.unzip(e.exportResponse(undisturbed))
			size := e.exportResponse(undisturbed).Size
			before := e.media.sentBytes()
			operation := e.startExport("")
			kills, calls := 0, 0
			var mu sync.Mutex // a call of a killed worker can outlive it
			for e.operations.get(operation).finished == nil {
				ctx, kill := context.WithCancel(t.Context())
				maybeKill := func() {
					mu.Lock()
					defer mu.Unlock()
					if calls++; calls%3 == 1 {
						kills++
						kill()
					}
				}
				if trigger == "message" {
					e.media.onAppend(maybeKill)
				} else {
					e.operations.onCheckpoint(maybeKill)
				}
				_ = e.deliver(ctx, operation)
				kill()
			}
			mu.Lock()
			defer mu.Unlock()
			if kills < 10 {
				t.Errorf("got %d kills, want at least 10", kills)
			}
			got := e.unzip(e.exportResponse(operation))
			if !maps.Equal(got, want) {
				t.Errorf("got %d files, want %d; differing: %v", len(got), len(want), differing(got, want))
			}
			if sent := e.media.sentBytes() - before; sent > size+size/4 {
				t.Errorf("got %d bytes sent for an archive of %d bytes", sent, size)
			}
			if response := e.exportResponse(operation); response.Talks != 130 || response.Recordings != 44 {
				t.Errorf("got %v, want 130 talks and 44 recordings", response)
			}
			if n := e.media.uploadCount(); n != 2 {
				t.Errorf("got %d uploads, want 2", n)
			}
		})
	}
}

// A superseded worker that is still running writes to the export at the same time as the
// current one, starting at any message. The archive is not damaged.
func TestTwoWorkersWritingOneExportDoNotDamageIt(t *testing.T) {
	t.Parallel()
	for calls, message := 0, 0; calls >= message; message++ {
		e := newEnvironment(t)
		e.createTalks(6)
		undisturbed := e.startExport("")
		if err := e.deliver(t.Context(), undisturbed); err != nil {
			t.Fatal(err)
		}
		want := e.unzip(e.exportResponse(undisturbed))
		operation := e.startExport("")
		var mu sync.Mutex
		calls = 0
		e.media.onAppend(func() {
			mu.Lock()
			calls++
			startSecond := calls == message+1
			mu.Unlock()
			if startSecond {
				_ = e.deliver(t.Context(), operation)
			}
		})
		for e.operations.get(operation).finished == nil {
			_ = e.deliver(t.Context(), operation)
		}
		if got := e.unzip(e.exportResponse(operation)); !maps.Equal(got, want) {
			t.Errorf("second worker at message %d: got %d files, want %d; differing: %v", message, len(got), len(want), differing(got, want))
		}
	}
}

// differing returns the names in b whose content differs in a.
func differing(a, b map[string]string) (names []string) {
	for name := range b {
		if a[name] != b[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Between two workers, talks are edited and a recording is deleted after part of it was
// written. The archive is still readable.
func TestExportSurvivesConcurrentChanges(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	e.createTalks(60)
	operation := e.startExport("channels/engines")
	ctx, kill := context.WithCancel(t.Context())
	messages := 0
	e.media.onAppend(func() {
		if messages++; messages == 4 {
			kill()
		}
	})
	_ = e.deliver(ctx, operation)
	e.media.onAppend(nil)
	e.media.mu.Lock()
	clear(e.media.recordings)
	e.media.mu.Unlock()
	if _, err := e.admin.Exec(`update talks.talk set title = title || ' (edited)'`); err != nil {
		t.Fatal(err)
	}
	if err := e.deliver(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	response := e.exportResponse(operation)
	files := e.unzip(response)
	if response.Talks != 60 || int64(len(files)) != 61+response.Recordings {
		t.Errorf("got %v and %d files", response, len(files))
	}
}

func TestCancelledExportLeavesNoData(t *testing.T) {
	t.Parallel()
	for step := range 12 {
		e := newEnvironment(t)
		e.createTalks(40)
		operation := e.startExport("")
		op := e.operations.get(operation)
		calls := 0
		maybeCancel := func() {
			if calls++; calls == step {
				close(op.cancel)
			}
		}
		e.media.onAppend(maybeCancel)
		e.operations.onCheckpoint(maybeCancel)
		if step == 0 {
			close(op.cancel)
		}
		if err := e.deliver(t.Context(), operation); err != nil {
			t.Fatal(err)
		}
		if !op.finished.GetCancelled() {
			t.Errorf("step %d: got %v, want cancelled", step, op.finished)
		}
		if n := e.media.uploadCount(); n != 0 {
			t.Errorf("step %d: got %d uploads, want none", step, n)
		}
		if n := e.count(`select count(*) from transfers.archived`); n != 0 {
			t.Errorf("step %d: got %d stored entries, want none", step, n)
		}
	}
}

func TestExportFailsWhenQuotaIsExceeded(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	e.createTalks(40)
	e.media.quota = 500_000
	operation := e.startExport("")
	if err := e.deliver(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	if reason, message := e.failure(operation); reason != "QUOTA_EXCEEDED" || !strings.Contains(message, "delete something") {
		t.Errorf("got %s: %q, want QUOTA_EXCEEDED", reason, message)
	}
	if n := e.media.uploadCount(); n != 0 {
		t.Errorf("got %d uploads, want none", n)
	}
}

func TestExportArchiveChecksTheChannel(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	e.createTalks(1)
	for _, c := range []struct {
		ctx            context.Context
		parent, reason string
	}{
		{e.userContext(grace), "channels/engines", "NOT_CHANNEL_OWNER"},
		{e.userContext(ada), "channels/nowhere", "CHANNEL_NOT_FOUND"},
		{caller.With(t.Context(), caller.Call{Program: "web-tier"}), "", "SESSION_REQUIRED"},
	} {
		_, err := e.transfers.ExportArchive(c.ctx, &transferspb.ExportArchiveRequest{Parent: c.parent, RequestId: e.requestID()})
		if reasonOf(err) != c.reason {
			t.Errorf("%s: got %v, want %s", c.parent, err, c.reason)
		}
	}
	// A user without channels gets an empty archive.
	response, err := e.transfers.ExportArchive(e.userContext(grace), &transferspb.ExportArchiveRequest{RequestId: e.requestID()})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.deliver(t.Context(), response.Name); err != nil {
		t.Fatal(err)
	}
	if files := e.unzip(e.exportResponse(response.Name)); len(files) != 0 {
		t.Errorf("got files %v, want none", files)
	}
	if upload := e.media.uploads[e.exportResponse(response.Name).File].upload; upload.AccountId != grace.ID || upload.FileName != "grace.zip" {
		t.Errorf("got upload %v, want grace.zip of grace", upload)
	}
}
