package media_test

import (
	"bytes"
	"errors"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/modules/media"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	"techtalks.example/logic-tier/platform/work"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	operationspb "techtalks.example/proto/techtalks/operations/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// mp4Of is a recording of so many seconds, with sound.
func mp4Of(t *testing.T, seconds string, more ...string) []byte {
	return ffmpeg(t, ".mp4", append([]string{
		"-f", "lavfi", "-i", "testsrc=size=1600x900:rate=10", "-f", "lavfi", "-i", "sine=frequency=440", "-t", seconds,
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac",
	}, more...)...)
}

func webmOf(t *testing.T, seconds string) []byte {
	return ffmpeg(t, ".webm", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10", "-f", "lavfi", "-i", "sine=frequency=440", "-t", seconds,
		"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
}

// process begins the making of a recording, as a request of ada's.
func (r *replica) process(upload, request string) string {
	r.site.t.Helper()
	o, err := r.ProcessRecording(r.as(module), &mediapb.ProcessRecordingRequest{
		Upload: upload, AccountId: 1, Title: "Recording", RequestId: request,
	})
	if err != nil {
		r.site.t.Fatal(err)
	}
	return o.Name
}

// made waits for the message that an operation's recording is ready.
func (s *site) made(operation string) *mediapb.MediaReady {
	s.t.Helper()
	var ready *mediapb.MediaReady
	s.until("the recording", func() bool {
		if o := s.operations.state(operation); o.end != nil {
			s.t.Fatalf("it ended instead: %v\n%s", o.end, o.said())
		}
		for _, m := range s.heard.messages() {
			if m.Operation == operation {
				ready = m
			}
		}
		return ready != nil
	})
	return ready
}

// ended waits until an operation has ended, and its worker is done with it: it cleans up
// when it has said that the work has ended.
func (s *site) ended(operation string) operation {
	s.t.Helper()
	s.until("the operation's end", func() bool { return s.operations.state(operation).end != nil })
	s.until("its message is acknowledged", func() bool {
		return s.count(`select count(*) from queue.message where type = $1`, work.Started) == 0
	})
	return s.operations.state(operation)
}

// probed is what ffprobe says of bytes, a line a stream: codec and size.
func probed(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command("ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height,nb_frames", "-of", "csv=p=0", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffprobe: %v\n%s", err, output)
	}
	return strings.TrimSpace(string(output))
}

func TestAnMP4BecomesARecording(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	r.module.SetSegment(1)
	data := mp4Of(t, "3.5")
	upload := r.send(ada, "looms.mp4", data)
	name := r.process(upload, "one")
	r.startWork(name)
	ready := s.made(name)
	if ready.AccountId != 1 || ready.RequestId != "one" {
		t.Errorf("the message is %v", ready)
	}
	answer, err := r.GetRecording(r.as(nobody), &mediapb.GetRecordingRequest{Name: ready.Recording.Name})
	if err != nil || !proto.Equal(answer.Recording, ready.Recording) {
		t.Errorf("it is kept as %v, and said to be %v, %v", answer, ready.Recording, err)
	}
	of := answer.Recording
	if d := of.Duration.AsDuration().Seconds(); d < 3.4 || d > 3.6 || len(of.LeftOut) > 0 || len(of.Renditions) != 2 {
		t.Fatalf("the recording is %v\n%s", of, s.operations.state(name).said())
	}
	whole, small := of.Renditions[0], of.Renditions[1]
	if whole.File != of.Name+"/original" || whole.ContentType != "video/mp4" || whole.Width != 1600 || whole.Height != 900 || whole.Size != int64(len(data)) {
		t.Errorf("the original is %v", whole)
	}
	if small.File != of.Name+"/480p" || small.ContentType != "video/mp4" || small.Width != 852 || small.Height != 480 {
		t.Errorf("the small one is %v", small)
	}
	got, err := r.read(nobody, whole.File, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the original", got, data)
	got, err = r.read(nobody, small.File, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if says := probed(t, got); !strings.HasPrefix(says, "h264,852,480,35\naac,") {
		t.Errorf("the small one holds %q, want 35 pictures and sound", says)
	}
	if moov, mdat := bytes.Index(got, []byte("moov")), bytes.Index(got, []byte("mdat")); moov > mdat {
		t.Error("a player must read the small one to its end before it plays")
	}
	f, err := r.GetFile(r.as(nobody), &mediapb.GetFileRequest{Name: small.File})
	if err != nil || f.File.Sha256 != sum(got) || f.File.Size != int64(len(got)) {
		t.Errorf("it is described as %v, %v", f, err)
	}
	got, err = r.read(nobody, of.Poster, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if picture, err := jpeg.Decode(bytes.NewReader(got)); err != nil || picture.Bounds().Dx() != 1280 || picture.Bounds().Dy() != 720 {
		t.Errorf("the poster: %v", err)
	}
	// The upload is the recording now, and what was made on the way is gone.
	_, err = r.GetUpload(r.as(ada), &mediapb.GetUploadRequest{Name: upload})
	wants(t, err, "UPLOAD_NOT_FOUND")
	if files, _ := r.swept(); files != 3 {
		t.Errorf("%d files are kept, want 3", files)
	}
	r.leavesNothing()
	o := s.operations.state(name)
	if o.unit != "seconds" || o.total != 4 || o.done != 3 {
		t.Errorf("%d of %d %s were done", o.done, o.total, o.unit)
	}
	// Once more, it changes nothing; asked for again, it is the same.
	r.startWork(name)
	s.until("the message is worked", func() bool { return s.count(`select count(*) from queue.message`) == 0 })
	if n := len(s.heard.messages()); n != 1 {
		t.Errorf("it was said to be ready %d times", n)
	}
	if again := r.process(upload, "one"); again != name {
		t.Errorf("asked for again it is %s", again)
	}
}

// leavesNothing fails when something is left in the scratch folder, or a program
// runs in it.
func (r *replica) leavesNothing() {
	r.site.t.Helper()
	r.site.until("the scratch folder is empty", func() bool {
		left, err := os.ReadDir(r.scratch)
		return err == nil && len(left) == 0
	})
	if running := r.running(); len(running) > 0 {
		r.site.t.Errorf("still running: %q", running)
	}
}

// running are the programs that work in the scratch folder.
func (r *replica) running() []string { return workingIn(r.scratch) }

func TestAWebMBecomesARecording(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	upload := r.send(ada, "looms.webm", webmOf(t, "2"))
	name := r.process(upload, "one")
	r.startWork(name)
	of := s.made(name).Recording
	if len(of.Renditions) != 2 || of.Renditions[0].ContentType != "video/webm" || of.Renditions[1].Width != 320 || of.Renditions[1].Height != 240 || of.Poster == "" {
		t.Errorf("the recording is %v, want the original first and a small one that is not larger", of)
	}
}

func TestWhatBrowsersMayNotPlayComesAfterTheSmallOne(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	data := ffmpeg(t, ".mov", "-f", "lavfi", "-i", "testsrc=size=480x640:rate=5", "-t", "1", "-c:v", "mpeg4")
	name := r.process(r.send(ada, "old.mov", data), "one")
	r.startWork(name)
	of := s.made(name).Recording
	if len(of.Renditions) != 2 || !strings.HasSuffix(of.Renditions[0].File, "/480p") || of.Renditions[0].Width != 360 || of.Renditions[0].Height != 480 || of.Renditions[1].ContentType != "video/quicktime" {
		t.Errorf("the recording is %v", of)
	}
}

func TestWhatIsNoRecordingIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	good, fast := mp4Of(t, "2"), mp4Of(t, "2", "-movflags", "+faststart")
	webm := webmOf(t, "2")
	for what, c := range map[string]struct {
		data []byte
		says string
	}{
		"text":                  {[]byte("#EXTM3U\nfile:///etc/passwd\n"), "it looks like text/plain"},
		"a page":                {[]byte("<html>" + strings.Repeat("x", 1000)), "it looks like text/html"},
		"an mp4 without an end": {good[:len(good)*2/3], "cannot be read as video/mp4"},
		"half of a fast mp4":    {fast[:len(fast)/2], "this recording is incomplete"},
		"half of a webm":        {webm[:len(webm)/2], "this recording is incomplete"},
		"only a beginning":      {slices.Concat(good[:64], noise(1, 5000)), "cannot be read as video/mp4"},
		"sound":                 {ffmpeg(t, ".mp4", "-f", "lavfi", "-i", "sine", "-t", "1", "-c:a", "aac"), "there is no video in this file, only audio"},
		"a codec of old":        {ffmpeg(t, ".mov", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=5", "-t", "1", "-c:v", "cinepak"), "encoded as cinepak"},
		"a tiny picture":        {ffmpeg(t, ".mp4", "-f", "lavfi", "-i", "testsrc=size=8x8:rate=5", "-t", "1", "-c:v", "mpeg4"), "8 × 8 pixels"},
	} {
		upload := r.send(ada, what, c.data)
		name := r.process(upload, what)
		r.startWork(name)
		o := s.ended(name)
		reason, message := o.reason()
		if reason != "RECORDING_UNUSABLE" || !strings.Contains(message, c.says) || o.end.GetError().Code != int32(codes.InvalidArgument) {
			t.Errorf("%s ends with %q: %s", what, reason, message)
		}
		_, err := r.GetUpload(r.as(ada), &mediapb.GetUploadRequest{Name: upload})
		wants(t, err, "UPLOAD_NOT_FOUND")
	}
	if files, chunks := r.swept(); files+chunks > 0 {
		t.Errorf("%d files and %d chunks are left", files, chunks)
	}
	r.leavesNothing()
}

func TestProcessingNeedsAWholeUploadOfTheAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	half := r.begin(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(10)})
	_, err := r.ProcessRecording(r.as(module), &mediapb.ProcessRecordingRequest{Upload: half, AccountId: 1, RequestId: "one"})
	wants(t, err, "UPLOAD_INCOMPLETE")
	whole := r.send(ada, "", []byte("0123456789"))
	_, err = r.ProcessRecording(r.as(module), &mediapb.ProcessRecordingRequest{Upload: whole, AccountId: 2, RequestId: "one"})
	wants(t, err, "UPLOAD_NOT_FOUND")
	// One at a time: another request is the same work, until that has failed.
	name := r.process(whole, "one")
	if other := r.process(whole, "two"); other != name {
		t.Errorf("another request is %s, want %s", other, name)
	}
	if _, err := s.operations.FinishOperation(t.Context(), &operationspb.FinishOperationRequest{
		Name: name, Outcome: &operationspb.FinishOperationRequest_Error{Error: &status.Status{Code: int32(codes.Internal)}},
	}); err != nil {
		t.Fatal(err)
	}
	if again := r.process(whole, "one"); again != name {
		t.Errorf("the same request again is %s, want %s", again, name)
	}
	other := r.process(whole, "two")
	if other == name {
		t.Error("another request after the first failed is the failed one")
	}
	if again := r.process(whole, "two"); again != other {
		t.Errorf("the second request again is %s, want %s", again, other)
	}
}

// onProgress calls do once, as soon as the operation has done so much.
func (s *site) onReport(when func(*operationspb.ReportOperationRequest) bool, do func()) {
	var once sync.Once
	s.operations.hearReports(func(r *operationspb.ReportOperationRequest) {
		if when(r) {
			once.Do(do)
		}
	})
}

// segments is how many segments are kept, by a checkpoint.
func segments(t *testing.T, checkpoint []byte) int {
	n := &wrapperspb.Int64Value{}
	if err := proto.Unmarshal(checkpoint, n); err != nil {
		t.Error(err)
	}
	return int(n.Value)
}

func TestCancelKillsFfmpegAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	r.module.SetSegment(600) // one, that takes a while
	upload := r.send(ada, "long.mp4", mp4Of(t, "60"))
	name := r.process(upload, "one")
	s.onReport(func(report *operationspb.ReportOperationRequest) bool { return report.DoneCount > 0 }, func() {
		if len(r.running()) == 0 {
			t.Error("no program runs in the middle of the work")
		}
		s.operations.cancel(name)
	})
	r.startWork(name)
	o := s.ended(name)
	if !o.end.GetCancelled() {
		t.Fatalf("it ended with %v", o.end)
	}
	r.leavesNothing()
	if files, _ := r.swept(); files != 1 {
		t.Errorf("%d files are left, want the upload's", files)
	}
	if u, err := r.GetUpload(r.as(ada), &mediapb.GetUploadRequest{Name: upload}); err != nil || !u.Upload.Whole {
		t.Errorf("the upload is %v, %v", u, err)
	}
}

func TestCancelBetweenSegmentsLeavesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	r.module.SetSegment(1)
	name := r.process(r.send(ada, "long.mp4", mp4Of(t, "4")), "one")
	s.onReport(func(report *operationspb.ReportOperationRequest) bool { return len(report.Checkpoint) > 0 }, func() { s.operations.cancel(name) })
	r.startWork(name)
	if o := s.ended(name); !o.end.GetCancelled() {
		t.Fatalf("it ended with %v", o.end)
	}
	if files, _ := r.swept(); files != 1 {
		t.Errorf("%d files are left, want the upload's", files)
	}
	r.leavesNothing()
}

// A worker that goes away after some segments leaves them to the next.
func TestAnotherWorkerGoesOnWithTheNextSegment(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.start()
	first.module.SetSegment(1)
	name := first.process(first.send(ada, "talk.mp4", mp4Of(t, "5")), "one")
	gone := make(chan struct{})
	s.onReport(func(report *operationspb.ReportOperationRequest) bool {
		return len(report.Checkpoint) > 0 && segments(t, report.Checkpoint) == 2
	}, func() {
		go func() {
			first.stop()
			close(gone)
		}()
	})
	first.startWork(name)
	<-gone
	kept := s.count(`select count(*) from media.part p join media.file f on f.id = p.file_id where p.name like 'segment-%' and f.sha256 is not null`)
	if kept < 2 || kept >= 5 {
		t.Fatalf("%d segments are kept of 5 after the first worker went", kept)
	}
	second := s.start()
	second.module.SetSegment(1)
	of := s.made(name).Recording
	if len(of.LeftOut) > 0 || len(of.Renditions) != 2 {
		t.Errorf("the recording is %v", of)
	}
	said := s.operations.state(name).said()
	if !strings.Contains(said, "Going on with the 480p version after") || strings.Count(said, "Picture taken.") != 1 {
		t.Errorf("it did not go on:\n%s", said)
	}
	got, err := second.read(nobody, of.Renditions[1].File, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if says := probed(t, got); !strings.HasPrefix(says, "h264,852,480,50\naac,") {
		t.Errorf("the small one holds %q, want all 50 pictures", says)
	}
	if files, _ := second.swept(); files != 3 {
		t.Errorf("%d files are kept, want 3", files)
	}
	first.leavesNothing()
	second.leavesNothing()
}

// What a process that was killed left in the scratch folder is removed by the
// next; what another works in stays.
func TestLeftoversOfAKilledProcessAreRemoved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	folder := t.TempDir()
	left := filepath.Join(folder, "recording-left")
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "original"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	shared := func(n *media.Needs) { n.Scratch = folder }
	first := s.start(shared)
	first.scratch = folder
	s.until("what was left is gone", func() bool {
		_, err := os.Stat(left)
		return errors.Is(err, os.ErrNotExist)
	})
	first.module.SetSegment(1)
	name := first.process(first.send(ada, "talk.mp4", mp4Of(t, "2")), "one")
	s.onReport(func(report *operationspb.ReportOperationRequest) bool { return report.Step != "" }, func() {
		if err := media.New(media.Needs{Scratch: folder}).Tidy(); err != nil {
			t.Error(err)
		}
	})
	first.startWork(name)
	if of := s.made(name).Recording; len(of.Renditions) != 2 {
		t.Errorf("the recording is %v", of)
	}
	first.leavesNothing()
}

func TestWithoutFfmpegTheOriginalIsPublished(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(func(n *media.Needs) {
		n.LookPath = func(string) (string, error) { return "", exec.ErrNotFound }
	})
	data := mp4Of(t, "1")
	name := r.process(r.send(ada, "talk.mp4", data), "one")
	r.startWork(name)
	of := s.made(name).Recording
	if len(of.Renditions) != 1 || of.Renditions[0].ContentType != "video/mp4" || of.Poster != "" || of.Duration != nil ||
		len(of.LeftOut) != 1 || !strings.Contains(of.LeftOut[0], "ffmpeg is not installed") {
		t.Errorf("the recording is %v", of)
	}
	got, err := r.read(nobody, of.Renditions[0].File, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "the original", got, data)
	_, err = r.read(nobody, of.Name+"/480p", 0, 0)
	wants(t, err, "FILE_NOT_FOUND")

	name = r.process(r.send(ada, "talk.mp4", noise(1, 1000)), "two")
	r.startWork(name)
	if reason, _ := s.ended(name).reason(); reason != "RECORDING_UNUSABLE" {
		t.Errorf("what is no video ends with %q", reason)
	}
}

// replaced puts a shell script in ffmpeg's place.
func replaced(t *testing.T, script string) func(*media.Needs) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return func(n *media.Needs) {
		n.LookPath = func(program string) (string, error) {
			if program == "ffmpeg" {
				return path, nil
			}
			return exec.LookPath(program)
		}
	}
}

// without hides a filter of ffmpeg's.
func without(t *testing.T, filter string) func(*media.Needs) {
	return replaced(t, `case "$*" in *-filters*) ffmpeg "$@" | grep -v " `+filter+` "; exit;; *`+filter+`*) exit 1;; esac; exec ffmpeg "$@"`)
}

// When ffmpeg fails at the small one, the recording is published all the same.
func TestARenditionThatFailsIsLeftOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(replaced(t, "for a; do case $a in libx264) echo 'no encoder today' >&2; exit 1;; esac; done\nexec ffmpeg \"$@\"\n"))
	name := r.process(r.send(ada, "talk.mp4", mp4Of(t, "1")), "one")
	r.startWork(name)
	of := s.made(name).Recording
	if len(of.Renditions) != 1 || of.Poster == "" || len(of.LeftOut) != 1 || !strings.Contains(of.LeftOut[0], "no 480p version") || !strings.Contains(of.LeftOut[0], "no encoder today") {
		t.Errorf("the recording is %v", of)
	}
	if files, _ := r.swept(); files != 2 {
		t.Errorf("%d files are kept, want 2", files)
	}
}

func TestAWithdrawnTalksRecordingIsRemoved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	name := r.process(r.send(ada, "talk.webm", webmOf(t, "1")), "one")
	r.startWork(name)
	of := s.made(name).Recording
	say := func(recording string) {
		t.Helper()
		if err := s.database.Open("talks").InTransaction(t.Context(), func(tx *postgres.Tx) error {
			_, err := r.engine.Publish(t.Context(), tx, queue.Message{
				Exchange: "talks", RoutingKey: "talk.withdrawn", Type: "talk.withdrawn",
				Body: &talkspb.TalkWithdrawn{Talk: "channels/c/talks/t", Recording: recording},
			})
			return err
		}); err != nil {
			t.Fatal(err)
		}
		s.until("it is heard", func() bool { return s.count(`select count(*) from queue.message`) == 0 })
	}
	say("")
	say("recordings/" + strings.Repeat("a", 26))
	if _, err := r.GetRecording(r.as(nobody), &mediapb.GetRecordingRequest{Name: of.Name}); err != nil {
		t.Errorf("another talk's withdrawal: %v", err)
	}
	say(of.Name)
	say(of.Name) // again
	_, err := r.GetRecording(r.as(nobody), &mediapb.GetRecordingRequest{Name: of.Name})
	wants(t, err, "RECORDING_NOT_FOUND")
	_, err = r.read(nobody, of.Poster, 0, 0)
	wants(t, err, "FILE_NOT_FOUND")
	if files, chunks := r.swept(); files+chunks > 0 {
		t.Errorf("%d files and %d chunks are left", files, chunks)
	}
	if got := s.count(`select count(*) from queue.dead_letter`); got != 0 {
		t.Errorf("%d messages were rejected", got)
	}
}
