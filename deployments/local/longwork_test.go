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

// tiers are killed in this order, while something long is under way.
var tiers = []string{"web-tier", "logic-tier", "data-tier"}

// published is the response of an operation that published a talk.
type published struct {
	Talk struct{ Name, Recording string }
}

// imported is that of one that brought a catalogue in.
type imported struct {
	Channels int `json:"channels_created,string"`
	Created  int `json:"talks_created,string"`
	Present  int `json:"talks_present,string"`
	Rejected int `json:"rejected,string"`
}

// exported is that of one that made an archive.
type exported struct {
	File       string
	Talks      int `json:"talks,string"`
	Recordings int `json:"recordings,string"`
}

// long is somebody whose work takes long, on a site whose tiers die.
type long struct {
	*localtest.Site
	t         *testing.T
	ada       *journey.Client
	channel   string
	recording []byte
}

// Every tier dies once in the middle of each kind of long work, and each ends in
// the right result.
func TestLongWorkOutlivesEveryTier(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	l := &long{t: t, Site: localtest.Up(t, localtest.Folder(t))}
	l.ada = journey.NewClient(t, l.URL)
	l.ada.SignUp("ada")
	l.channel = l.ada.MakeChannel("Long work")
	l.recording = journey.Bytes(t, journey.Recording(t, 75, "1280x720", "mp4"))
	l.publish(l.upload())
	l.bringIn()
	l.takeOut()
}

// dying kills each tier in turn as an operation gets further.
func (l *long) dying(operation string) {
	l.t.Helper()
	for n, tier := range tiers {
		o := l.ada.Until(operation, "further", func(o journey.Operation) bool { return o.Metadata.Percent > 5+20*n || o.Done })
		if o.Done {
			l.t.Errorf("%s was done before %s died: %+v", operation, tier, o.Metadata)
		}
		l.Kill(tier)
	}
}

func (l *long) upload() string {
	l.t.Helper()
	killed, size := 0, int64(len(l.recording))
	upload := l.ada.Upload(l.recording, "looms.mp4", "video/mp4", 6, func(at int64) {
		if killed < len(tiers) && at > int64(killed+1)*size/10 && at < size {
			l.Kill(tiers[killed])
			killed++
		}
	})
	for ; killed < len(tiers); killed++ { // it was quicker than that: then before it is used
		l.Kill(tiers[killed])
	}
	return upload
}

func (l *long) publish(upload string) {
	l.t.Helper()
	operation := l.ada.Start(l.channel+"/talks", url.Values{"title": {"On looms"}, "upload": {upload}})
	l.dying(operation)
	var talk published
	l.ada.Succeeds(operation, &talk)
	if talk.Talk.Recording == "" {
		l.t.Fatalf("published is %+v", talk)
	}
	at := "/" + talk.Talk.Recording
	if got := l.ada.Fetch(at+"/original", 0); sha256.Sum256(got) != sha256.Sum256(l.recording) {
		l.t.Errorf("of %d bytes %d come back, others", len(l.recording), len(got))
	}
	half := int64(len(l.recording) / 2)
	if got := l.ada.Fetch(at+"/original", half); !bytes.Equal(got, l.recording[half:]) {
		l.t.Error("from the middle on, others come")
	}
	if smaller := l.ada.Fetch(at+"/480p", 0); len(smaller) < 1000 || !bytes.Contains(smaller[:64], []byte("ftyp")) {
		l.t.Errorf("the 480p rendition has %d bytes", len(smaller))
	}
}

// brought is how many talks are brought in; more than an import takes in a moment.
const brought = 15_000

func (l *long) bringIn() {
	l.t.Helper()
	upload := l.ada.Upload(catalogue(l.t, brought), "catalogue.tar", "application/x-tar", 2, nil)
	operation := l.ada.Start("/studio/import", url.Values{"upload": {upload}})
	l.dying(operation)
	var came imported
	l.ada.Succeeds(operation, &came)
	// What one worker brought in just before it died, the next finds there.
	if came.Created+came.Present != brought || came.Rejected != 0 {
		l.t.Errorf("came in %+v", came)
	}
}

func (l *long) takeOut() {
	l.t.Helper()
	operation := l.ada.Start("/account/export", url.Values{})
	l.dying(operation)
	var came exported
	l.ada.Succeeds(operation, &came)
	if came.Talks != brought+1 || came.Recordings != 1 {
		l.t.Errorf("the archive has %+v", came)
	}
	archive := l.ada.Fetch("/files/"+strings.TrimPrefix(came.File, "uploads/"), 0)
	opened, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		l.t.Fatal(err)
	}
	whole := false
	for _, f := range opened.File { // its checksum is compared at the end
		inside, err := f.Open()
		if err != nil {
			l.t.Fatal(err)
		}
		content, err := io.ReadAll(inside)
		if err != nil {
			l.t.Errorf("%s: %v", f.Name, err)
		}
		whole = whole || bytes.Equal(content, l.recording)
		_ = inside.Close()
	}
	if !whole {
		l.t.Error("the recording is not in it as it was")
	}
}

// catalogue is so many talks of ten events in the layout of pyvideo, as a tar.
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
	event := journey.New("event")
	for n := range talks {
		if n%(talks/10) == 0 {
			add(fmt.Sprintf("%s-%d/category.json", event, n/(talks/10)), fmt.Sprintf(`{"title": "Event %d"}`, n))
		}
		add(fmt.Sprintf("%s-%d/videos/talk-%d.json", event, n/(talks/10), n), fmt.Sprintf(
			`{"title": "Talk %d", "speakers": ["Ada"], "language": "eng", "description": %q, "videos": [{"type": "youtube", "url": "https://videos.example/%d"}]}`,
			n, strings.Repeat("What there is to say of it. ", 20), n))
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.Bytes()
}

// Cancelled at any step, work stops and leaves nothing.
func TestLongWorkIsCancelledAtAnyStep(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long; make verify runs it")
	}
	r := localtest.Up(t, localtest.Folder(t))
	ada := journey.NewClient(t, r.URL)
	ada.SignUp("ada")
	channel := ada.MakeChannel("Cancelled")
	recording := journey.Bytes(t, journey.Recording(t, 60, "1280x720", "mp4"))
	for _, percent := range []int{-1, 0, 20, 60} {
		upload := ada.Upload(recording, "looms.mp4", "video/mp4", 0, nil)
		operation := ada.Start(channel+"/talks", url.Values{"title": {"Never"}, "upload": {upload}})
		ada.Until(operation, "under way", func(o journey.Operation) bool { return o.Metadata.Percent > percent || o.Done })
		ada.Cancel(operation)
		if o := ada.Until(operation, "done", func(o journey.Operation) bool { return o.Done }); o.Metadata.State != "STATE_CANCELLED" {
			t.Errorf("after %d %% it ended as %s", percent, o.Metadata.State)
		}
	}
	r.Until("nothing of it is left", func() bool { return len(r.Scratch()) == 0 })
}
