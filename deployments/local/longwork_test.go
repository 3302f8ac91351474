package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	"techtalks.example/deployments/journey"
	"techtalks.example/deployments/local/localtest"
)

// tiers are killed in this order while an operation runs.
var tiers = []string{"web-tier", "logic-tier", "data-tier"}

// publishResponse is the response of an operation that publishes a talk.
type publishResponse struct {
	Talk struct{ Name, Recording string }
}

// importResponse is the response of an operation that imports a catalogue.
type importResponse struct {
	Channels int `json:"channels_created,string"`
	Created  int `json:"talks_created,string"`
	Present  int `json:"talks_present,string"`
	Rejected int `json:"rejected,string"`
}

// exportResponse is the response of an operation that exports an archive.
type exportResponse struct {
	File       string
	Talks      int `json:"talks,string"`
	Recordings int `json:"recordings,string"`
}

// longWork runs long operations of one account while the tiers of its site are killed.
type longWork struct {
	*localtest.Site
	t         *testing.T
	ada       *journey.Client
	channel   string
	recording []byte
}

// Each tier is killed once during each kind of operation; every operation still completes
// with the correct result.
func TestLongWorkSurvivesRestartOfEveryTier(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	w := &longWork{t: t, Site: localtest.Up(t, localtest.Folder(t))}
	w.ada = journey.NewClient(t, w.URL)
	w.ada.SignUp("ada")
	w.channel = w.ada.CreateChannel("Long work")
	w.recording = journey.ReadFile(t, journey.Recording(t, 75, "1280x720", "mp4"))
	w.publish(w.upload())
	w.importCatalogue()
	w.export()
}

// killTiers kills each tier in turn while an operation makes progress.
func (w *longWork) killTiers(operation string) {
	w.t.Helper()
	for n, tier := range tiers {
		o := w.ada.WaitUntil(operation, "progressing", func(o journey.Operation) bool { return o.Metadata.Percent > 5+20*n || o.Done })
		if o.Done {
			w.t.Errorf("%s finished before %s was killed: %+v", operation, tier, o.Metadata)
		}
		w.Kill(tier)
	}
}

func (w *longWork) upload() string {
	w.t.Helper()
	killed, size := 0, int64(len(w.recording))
	upload := w.ada.Upload(w.recording, "looms.mp4", "video/mp4", 6, func(at int64) {
		if killed < len(tiers) && at > int64(killed+1)*size/10 && at < size {
			w.Kill(tiers[killed])
			killed++
		}
	})
	for ; killed < len(tiers); killed++ { // a fast upload: kill the others before it is used
		w.Kill(tiers[killed])
	}
	return upload
}

func (w *longWork) publish(upload string) {
	w.t.Helper()
	operation := w.ada.Start(w.channel+"/talks", url.Values{"title": {"On looms"}, "upload": {upload}})
	w.killTiers(operation)
	var response publishResponse
	w.ada.WaitForSuccess(operation, &response)
	if response.Talk.Recording == "" {
		w.t.Fatalf("the published talk has no recording: %+v", response)
	}
	path := "/" + response.Talk.Recording
	if got := w.ada.Fetch(path+"/original", 0); sha256.Sum256(got) != sha256.Sum256(w.recording) {
		w.t.Errorf("original: got %d bytes, which differ from the %d uploaded", len(got), len(w.recording))
	}
	half := int64(len(w.recording) / 2)
	if got := w.ada.Fetch(path+"/original", half); !bytes.Equal(got, w.recording[half:]) {
		w.t.Error("original: the range from the middle differs from the upload")
	}
	if smaller := w.ada.Fetch(path+"/480p", 0); len(smaller) < 1000 || !bytes.Contains(smaller[:64], []byte("ftyp")) {
		w.t.Errorf("480p rendition: got %d bytes, want an MP4 file", len(smaller))
	}
}

// importedTalks is the size of the imported catalogue, large enough that the import takes a while.
const importedTalks = 15_000

func (w *longWork) importCatalogue() {
	w.t.Helper()
	upload := w.ada.Upload(catalogue(w.t, importedTalks), "catalogue.tar", "application/x-tar", 2, nil)
	operation := w.ada.Start("/studio/import", url.Values{"upload": {upload}})
	w.killTiers(operation)
	var response importResponse
	w.ada.WaitForSuccess(operation, &response)
	// Talks that a worker created just before it was killed count as present.
	if response.Created+response.Present != importedTalks || response.Rejected != 0 {
		w.t.Errorf("import: got %+v, want %d talks, created or present, and none rejected", response, importedTalks)
	}
}

func (w *longWork) export() {
	w.t.Helper()
	operation := w.ada.Start("/account/export", url.Values{})
	w.killTiers(operation)
	var response exportResponse
	w.ada.WaitForSuccess(operation, &response)
	if response.Talks != importedTalks+1 || response.Recordings != 1 {
		w.t.Errorf("archive: got %+v, want %d talks and 1 recording", response, importedTalks+1)
	}
	archive := w.ada.Fetch("/files/"+strings.TrimPrefix(response.File, "uploads/"), 0)
	opened, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		w.t.Fatal(err)
	}
	intact := false
	for _, f := range opened.File { // reading to the end verifies the checksum
		file, err := f.Open()
		if err != nil {
			w.t.Fatal(err)
		}
		content, err := io.ReadAll(file)
		if err != nil {
			w.t.Errorf("%s: %v", f.Name, err)
		}
		intact = intact || bytes.Equal(content, w.recording)
		_ = file.Close()
	}
	if !intact {
		w.t.Error("the archive does not contain the uploaded recording")
	}
}

// catalogue returns a tar archive of talks at ten events, in the layout of pyvideo.
func catalogue(t *testing.T, talks int) []byte {
	t.Helper()
	var bytes bytes.Buffer
	archive := tar.NewWriter(&bytes)
	add := func(path, content string) {
		t.Helper()
		if err := archive.WriteHeader(&tar.Header{Name: path, Mode: 0o644, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(archive, content); err != nil {
			t.Fatal(err)
		}
	}
	event := journey.UniqueName("event")
	for n := range talks {
		if n%(talks/10) == 0 {
			add(fmt.Sprintf("%s-%d/category.json", event, n/(talks/10)), fmt.Sprintf(`{"title": "Event %d"}`, n))
		}
		add(fmt.Sprintf("%s-%d/videos/talk-%d.json", event, n/(talks/10), n), fmt.Sprintf(
			`{"title": "Talk %d", "speakers": ["Ada"], "language": "eng", "description": %q, "videos": [{"type": "youtube", "url": "https://videos.example/%d"}]}`,
			n, strings.Repeat("A sentence about the talk. ", 20), n))
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.Bytes()
}

// An operation that is cancelled at any step stops and deletes its files.
func TestLongWorkCanBeCancelledAtAnyStep(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	r := localtest.Up(t, localtest.Folder(t))
	ada := journey.NewClient(t, r.URL)
	ada.SignUp("ada")
	channel := ada.CreateChannel("Cancelled")
	recording := journey.ReadFile(t, journey.Recording(t, 60, "1280x720", "mp4"))
	for _, percent := range []int{-1, 0, 20, 60} {
		upload := ada.Upload(recording, "looms.mp4", "video/mp4", 0, nil)
		operation := ada.Start(channel+"/talks", url.Values{"title": {"Never"}, "upload": {upload}})
		ada.WaitUntil(operation, "progressing", func(o journey.Operation) bool { return o.Metadata.Percent > percent || o.Done })
		ada.Cancel(operation)
		if o := ada.WaitUntil(operation, "done", func(o journey.Operation) bool { return o.Done }); o.Metadata.State != "STATE_CANCELLED" {
			t.Errorf("cancelled after %d %%: got state %s, want STATE_CANCELLED", percent, o.Metadata.State)
		}
	}
	r.Until("the scratch folder is empty", func() bool { return len(r.Scratch()) == 0 })
}
