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

// encodeMP4 returns a recording with audio.
func encodeMP4(t *testing.T, seconds string, more ...string) []byte {
	return ffmpeg(t, ".mp4", append([]string{
		"-f", "lavfi", "-i", "testsrc=size=1600x900:rate=10", "-f", "lavfi", "-i", "sine=frequency=440", "-t", seconds,
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac",
	}, more...)...)
}

func encodeWebM(t *testing.T, seconds string) []byte {
	return ffmpeg(t, ".webm", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=10", "-f", "lavfi", "-i", "sine=frequency=440", "-t", seconds,
		"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")
}

// process starts the transcode of an upload of ada's and returns its operation.
func (r *replica) process(upload, request string) string {
	r.site.t.Helper()
	o, err := r.ProcessRecording(r.ctx(module), &mediapb.ProcessRecordingRequest{
		Upload: upload, AccountId: 1, Title: "Recording", RequestId: request,
	})
	if err != nil {
		r.site.t.Fatal(err)
	}
	return o.Name
}

// waitReady waits for the message that an operation's recording is ready.
func (s *site) waitReady(operation string) *mediapb.MediaReady {
	s.t.Helper()
	var ready *mediapb.MediaReady
	s.waitFor("the recording to be ready", func() bool {
		if o := s.operations.state(operation); o.finished != nil {
			s.t.Fatalf("got operation finished with %v, want a recording\n%s", o.finished, o.log())
		}
		for _, m := range s.ready.all() {
			if m.Operation == operation {
				ready = m
			}
		}
		return ready != nil
	})
	return ready
}

// waitEnded waits until the worker has finished an operation and acknowledged its message,
// which it does after the cleanups.
func (s *site) waitEnded(operation string) operation {
	s.t.Helper()
	s.waitFor("the operation to end", func() bool { return s.operations.state(operation).finished != nil })
	s.waitFor("its message to be acknowledged", func() bool {
		return s.count(`select count(*) from queue.message where type = $1`, work.Started) == 0
	})
	return s.operations.state(operation)
}

// probe returns the codec, size and frame count of each stream, one per line, as ffprobe prints
// them.
func probe(t *testing.T, data []byte) string {
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

func TestTranscodePublishesMP4WithRenditions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	r.module.SetSegmentSeconds(1)
	data := encodeMP4(t, "3.5")
	upload := r.uploadFile(ada, "looms.mp4", data)
	name := r.process(upload, "one")
	r.publishStarted(name)
	ready := s.waitReady(name)
	if ready.AccountId != 1 || ready.RequestId != "one" {
		t.Errorf("got message %v, want account 1 and request one", ready)
	}
	response, err := r.GetRecording(r.ctx(anonymous), &mediapb.GetRecordingRequest{Name: ready.Recording.Name})
	if err != nil || !proto.Equal(response.Recording, ready.Recording) {
		t.Errorf("got recording %v, %v; want that of the message, %v", response, err, ready.Recording)
	}
	recording := response.Recording
	if d := recording.Duration.AsDuration().Seconds(); d < 3.4 || d > 3.6 || len(recording.LeftOut) > 0 || len(recording.Renditions) != 2 {
		t.Fatalf("got recording %v, want two renditions of 3.5 s\n%s", recording, s.operations.state(name).log())
	}
	original, small := recording.Renditions[0], recording.Renditions[1]
	if original.File != recording.Name+"/original" || original.ContentType != "video/mp4" || original.Width != 1600 || original.Height != 900 || original.Size != int64(len(data)) {
		t.Errorf("got original %v", original)
	}
	if small.File != recording.Name+"/480p" || small.ContentType != "video/mp4" || small.Width != 852 || small.Height != 480 {
		t.Errorf("got 480p version %v", small)
	}
	got, err := r.readFile(anonymous, original.File, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "original", got, data)
	got, err = r.readFile(anonymous, small.File, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if streams := probe(t, got); !strings.HasPrefix(streams, "h264,852,480,35\naac,") {
		t.Errorf("got 480p streams %q, want 35 frames and audio", streams)
	}
	if moov, mdat := bytes.Index(got, []byte("moov")), bytes.Index(got, []byte("mdat")); moov > mdat {
		t.Error("the 480p version has its index at the end: players must read all of it before they play")
	}
	f, err := r.GetFile(r.ctx(anonymous), &mediapb.GetFileRequest{Name: small.File})
	if err != nil || f.File.Sha256 != sha256Hex(got) || f.File.Size != int64(len(got)) {
		t.Errorf("got file %v, %v; want the checksum and size of its bytes", f, err)
	}
	got, err = r.readFile(anonymous, recording.Poster, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if picture, err := jpeg.Decode(bytes.NewReader(got)); err != nil || picture.Bounds().Dx() != 1280 || picture.Bounds().Dy() != 720 {
		t.Errorf("got poster %v; want a JPEG of 1280 × 720", err)
	}
	// The upload has become the recording, and the segments are deleted.
	_, err = r.GetUpload(r.ctx(ada), &mediapb.GetUploadRequest{Name: upload})
	wantReason(t, err, "UPLOAD_NOT_FOUND")
	if files, _ := r.sweep(); files != 3 {
		t.Errorf("got %d files, want 3", files)
	}
	r.wantCleanScratch()
	o := s.operations.state(name)
	if o.unit != "seconds" || o.total != 4 || o.done != 3 {
		t.Errorf("got progress %d of %d %s, want 3 of 4 seconds", o.done, o.total, o.unit)
	}
	// A redelivered message changes nothing, and a repeated request returns the same operation.
	r.publishStarted(name)
	s.waitFor("the message to be consumed", func() bool { return s.count(`select count(*) from queue.message`) == 0 })
	if n := len(s.ready.all()); n != 1 {
		t.Errorf("got %d ready messages, want 1", n)
	}
	if again := r.process(upload, "one"); again != name {
		t.Errorf("got operation %s for the repeated request, want %s", again, name)
	}
}

// wantCleanScratch fails the test if the scratch directory is not empty, or a program runs in
// it.
func (r *replica) wantCleanScratch() {
	r.site.t.Helper()
	r.site.waitFor("the scratch directory to be empty", func() bool {
		entries, err := os.ReadDir(r.scratch)
		return err == nil && len(entries) == 0
	})
	if running := r.running(); len(running) > 0 {
		r.site.t.Errorf("got programs still running: %q", running)
	}
}

// running returns the programs that run in the scratch directory.
func (r *replica) running() []string { return programsIn(r.scratch) }

func TestTranscodePublishesWebMWithRenditions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	upload := r.uploadFile(ada, "looms.webm", encodeWebM(t, "2"))
	name := r.process(upload, "one")
	r.publishStarted(name)
	recording := s.waitReady(name).Recording
	if len(recording.Renditions) != 2 || recording.Renditions[0].ContentType != "video/webm" || recording.Renditions[1].Width != 320 || recording.Renditions[1].Height != 240 || recording.Poster == "" {
		t.Errorf("got recording %v, want the original first and a 480p version that is not scaled up", recording)
	}
}

func TestUnplayableOriginalIsListedAfter480p(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	data := ffmpeg(t, ".mov", "-f", "lavfi", "-i", "testsrc=size=480x640:rate=5", "-t", "1", "-c:v", "mpeg4")
	name := r.process(r.uploadFile(ada, "old.mov", data), "one")
	r.publishStarted(name)
	recording := s.waitReady(name).Recording
	if len(recording.Renditions) != 2 || !strings.HasSuffix(recording.Renditions[0].File, "/480p") || recording.Renditions[0].Width != 360 || recording.Renditions[0].Height != 480 || recording.Renditions[1].ContentType != "video/quicktime" {
		t.Errorf("got recording %v, want the 480p version before the original", recording)
	}
}

func TestTranscodeRejectsUnusableUploads(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	good, fast := encodeMP4(t, "2"), encodeMP4(t, "2", "-movflags", "+faststart")
	webm := encodeWebM(t, "2")
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"text":                                {[]byte("#EXTM3U\nfile:///etc/passwd\n"), "it looks like text/plain"},
		"HTML page":                           {[]byte("<html>" + strings.Repeat("x", 1000)), "it looks like text/html"},
		"MP4 without an end":                  {good[:len(good)*2/3], "cannot be read as video/mp4"},
		"half of an MP4 with its index first": {fast[:len(fast)/2], "this recording is incomplete"},
		"half of a WebM":                      {webm[:len(webm)/2], "this recording is incomplete"},
		"noise after an MP4 header":           {slices.Concat(good[:64], randomBytes(1, 5000)), "cannot be read as video/mp4"},
		"audio only":                          {ffmpeg(t, ".mp4", "-f", "lavfi", "-i", "sine", "-t", "1", "-c:a", "aac"), "there is no video in this file, only audio"},
		"obsolete codec":                      {ffmpeg(t, ".mov", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=5", "-t", "1", "-c:v", "cinepak"), "encoded as cinepak"},
		"tiny picture":                        {ffmpeg(t, ".mp4", "-f", "lavfi", "-i", "testsrc=size=8x8:rate=5", "-t", "1", "-c:v", "mpeg4"), "8 × 8 pixels"},
	} {
		upload := r.uploadFile(ada, name, c.data)
		operation := r.process(upload, name)
		r.publishStarted(operation)
		o := s.waitEnded(operation)
		reason, message := o.reason()
		if reason != "RECORDING_UNUSABLE" || !strings.Contains(message, c.want) || o.finished.GetError().Code != int32(codes.InvalidArgument) {
			t.Errorf("%s: got %s %q, want RECORDING_UNUSABLE with %q", name, reason, message, c.want)
		}
		_, err := r.GetUpload(r.ctx(ada), &mediapb.GetUploadRequest{Name: upload})
		wantReason(t, err, "UPLOAD_NOT_FOUND")
	}
	if files, chunks := r.sweep(); files+chunks > 0 {
		t.Errorf("got %d files and %d chunks left, want none", files, chunks)
	}
	r.wantCleanScratch()
}

func TestProcessRecordingNeedsCompleteUploadOfAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	incomplete := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(10)})
	_, err := r.ProcessRecording(r.ctx(module), &mediapb.ProcessRecordingRequest{Upload: incomplete, AccountId: 1, RequestId: "one"})
	wantReason(t, err, "UPLOAD_INCOMPLETE")
	upload := r.uploadFile(ada, "", []byte("0123456789"))
	_, err = r.ProcessRecording(r.ctx(module), &mediapb.ProcessRecordingRequest{Upload: upload, AccountId: 2, RequestId: "one"})
	wantReason(t, err, "UPLOAD_NOT_FOUND")
	// A second request gets the same operation, until that has failed.
	name := r.process(upload, "one")
	if other := r.process(upload, "two"); other != name {
		t.Errorf("got operation %s for another request, want %s", other, name)
	}
	if _, err := s.operations.FinishOperation(t.Context(), &operationspb.FinishOperationRequest{
		Name: name, Outcome: &operationspb.FinishOperationRequest_Error{Error: &status.Status{Code: int32(codes.Internal)}},
	}); err != nil {
		t.Fatal(err)
	}
	if again := r.process(upload, "one"); again != name {
		t.Errorf("got operation %s for the repeated request, want %s", again, name)
	}
	other := r.process(upload, "two")
	if other == name {
		t.Error("got the failed operation for another request, want a new one")
	}
	if again := r.process(upload, "two"); again != other {
		t.Errorf("got operation %s for the repeated second request, want %s", again, other)
	}
}

// runOnReport calls do once, on the first report that matches.
func (s *site) runOnReport(matches func(*operationspb.ReportOperationRequest) bool, do func()) {
	var once sync.Once
	s.operations.setOnReport(func(r *operationspb.ReportOperationRequest) {
		if matches(r) {
			once.Do(do)
		}
	})
}

// segments returns the number of stored segments in a checkpoint.
func segments(t *testing.T, checkpoint []byte) int {
	n := &wrapperspb.Int64Value{}
	if err := proto.Unmarshal(checkpoint, n); err != nil {
		t.Error(err)
	}
	return int(n.Value)
}

func TestCancelKillsFFmpegAndDeletesOutputs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	r.module.SetSegmentSeconds(600) // one long segment
	upload := r.uploadFile(ada, "long.mp4", encodeMP4(t, "60"))
	name := r.process(upload, "one")
	s.runOnReport(func(report *operationspb.ReportOperationRequest) bool { return report.DoneCount > 0 }, func() {
		if len(r.running()) == 0 {
			t.Error("no program runs during the transcode")
		}
		s.operations.cancel(name)
	})
	r.publishStarted(name)
	o := s.waitEnded(name)
	if !o.finished.GetCancelled() {
		t.Fatalf("got operation finished with %v, want cancelled", o.finished)
	}
	r.wantCleanScratch()
	if files, _ := r.sweep(); files != 1 {
		t.Errorf("got %d files left, want only the upload's", files)
	}
	if u, err := r.GetUpload(r.ctx(ada), &mediapb.GetUploadRequest{Name: upload}); err != nil || !u.Upload.Whole {
		t.Errorf("got upload %v, %v; want it complete", u, err)
	}
}

func TestCancelBetweenSegmentsDeletesOutputs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	r.module.SetSegmentSeconds(1)
	name := r.process(r.uploadFile(ada, "long.mp4", encodeMP4(t, "4")), "one")
	s.runOnReport(func(report *operationspb.ReportOperationRequest) bool { return len(report.Checkpoint) > 0 }, func() { s.operations.cancel(name) })
	r.publishStarted(name)
	if o := s.waitEnded(name); !o.finished.GetCancelled() {
		t.Fatalf("got operation finished with %v, want cancelled", o.finished)
	}
	if files, _ := r.sweep(); files != 1 {
		t.Errorf("got %d files left, want only the upload's", files)
	}
	r.wantCleanScratch()
}

func TestTranscodeResumesOnAnotherWorkerAfterStoredSegments(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := s.start()
	first.module.SetSegmentSeconds(1)
	name := first.process(first.uploadFile(ada, "talk.mp4", encodeMP4(t, "5")), "one")
	stopped := make(chan struct{})
	s.runOnReport(func(report *operationspb.ReportOperationRequest) bool {
		return len(report.Checkpoint) > 0 && segments(t, report.Checkpoint) == 2
	}, func() {
		go func() {
			first.stop()
			close(stopped)
		}()
	})
	first.publishStarted(name)
	<-stopped
	stored := s.count(`select count(*) from media.part p join media.file f on f.id = p.file_id where p.name like 'segment-%' and f.sha256 is not null`)
	if stored < 2 || stored >= 5 {
		t.Fatalf("got %d of 5 segments stored after the first worker stopped, want 2 to 4", stored)
	}
	second := s.start()
	second.module.SetSegmentSeconds(1)
	recording := s.waitReady(name).Recording
	if len(recording.LeftOut) > 0 || len(recording.Renditions) != 2 {
		t.Errorf("got recording %v, want two renditions", recording)
	}
	steps := s.operations.state(name).log()
	if !strings.Contains(steps, "Resuming the 480p version after") || strings.Count(steps, "Poster created.") != 1 {
		t.Errorf("got steps that do not resume:\n%s", steps)
	}
	got, err := second.readFile(anonymous, recording.Renditions[1].File, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if streams := probe(t, got); !strings.HasPrefix(streams, "h264,852,480,50\naac,") {
		t.Errorf("got 480p streams %q, want all 50 frames", streams)
	}
	if files, _ := second.sweep(); files != 3 {
		t.Errorf("got %d files, want 3", files)
	}
	first.wantCleanScratch()
	second.wantCleanScratch()
}

// A replica removes unlocked work directories, and keeps those of running transcodes.
func TestStaleWorkDirsOfKilledProcessesAreRemoved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	dir := t.TempDir()
	stale := filepath.Join(dir, "recording-stale")
	if err := os.MkdirAll(stale, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(stale, "original"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	shared := func(d *media.Deps) { d.Scratch = dir }
	first := s.start(shared)
	first.scratch = dir
	s.waitFor("the stale work directory to be removed", func() bool {
		_, err := os.Stat(stale)
		return errors.Is(err, os.ErrNotExist)
	})
	first.module.SetSegmentSeconds(1)
	name := first.process(first.uploadFile(ada, "talk.mp4", encodeMP4(t, "2")), "one")
	s.runOnReport(func(report *operationspb.ReportOperationRequest) bool { return report.Step != "" }, func() {
		if err := media.New(media.Deps{Scratch: dir}).RemoveStale(); err != nil {
			t.Error(err)
		}
	})
	first.publishStarted(name)
	if recording := s.waitReady(name).Recording; len(recording.Renditions) != 2 {
		t.Errorf("got recording %v, want two renditions", recording)
	}
	first.wantCleanScratch()
}

func TestOriginalIsPublishedWithoutFFmpeg(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(func(d *media.Deps) {
		d.LookPath = func(string) (string, error) { return "", exec.ErrNotFound }
	})
	data := encodeMP4(t, "1")
	name := r.process(r.uploadFile(ada, "talk.mp4", data), "one")
	r.publishStarted(name)
	recording := s.waitReady(name).Recording
	if len(recording.Renditions) != 1 || recording.Renditions[0].ContentType != "video/mp4" || recording.Poster != "" || recording.Duration != nil ||
		len(recording.LeftOut) != 1 || !strings.Contains(recording.LeftOut[0], "ffmpeg is not installed") {
		t.Errorf("got recording %v, want only the original, and ffmpeg reported missing", recording)
	}
	got, err := r.readFile(anonymous, recording.Renditions[0].File, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "original", got, data)
	_, err = r.readFile(anonymous, recording.Name+"/480p", 0, 0)
	wantReason(t, err, "FILE_NOT_FOUND")

	name = r.process(r.uploadFile(ada, "talk.mp4", randomBytes(1, 1000)), "two")
	r.publishStarted(name)
	if reason, _ := s.waitEnded(name).reason(); reason != "RECORDING_UNUSABLE" {
		t.Errorf("got reason %q for a file that is not a video, want RECORDING_UNUSABLE", reason)
	}
}

// replaceFFmpeg has the module run a shell script instead of ffmpeg.
func replaceFFmpeg(t *testing.T, script string) func(*media.Deps) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return func(d *media.Deps) {
		d.LookPath = func(program string) (string, error) {
			if program == "ffmpeg" {
				return path, nil
			}
			return exec.LookPath(program)
		}
	}
}

// withoutFilter has the module run an ffmpeg that lacks a filter.
func withoutFilter(t *testing.T, filter string) func(*media.Deps) {
	return replaceFFmpeg(t, `case "$*" in *-filters*) ffmpeg "$@" | grep -v " `+filter+` "; exit;; *`+filter+`*) exit 1;; esac; exec ffmpeg "$@"`)
}

func TestRecordingIsPublishedWithout480pWhenEncodingFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(replaceFFmpeg(t, "for a; do case $a in libx264) echo 'no encoder today' >&2; exit 1;; esac; done\nexec ffmpeg \"$@\"\n"))
	name := r.process(r.uploadFile(ada, "talk.mp4", encodeMP4(t, "1")), "one")
	r.publishStarted(name)
	recording := s.waitReady(name).Recording
	if len(recording.Renditions) != 1 || recording.Poster == "" || len(recording.LeftOut) != 1 || !strings.Contains(recording.LeftOut[0], "no 480p version") || !strings.Contains(recording.LeftOut[0], "no encoder today") {
		t.Errorf("got recording %v, want the original and a poster, and the 480p version left out", recording)
	}
	if files, _ := r.sweep(); files != 2 {
		t.Errorf("got %d files, want 2", files)
	}
}

func TestRecordingIsDeletedWhenItsTalkIsWithdrawn(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	name := r.process(r.uploadFile(ada, "talk.webm", encodeWebM(t, "1")), "one")
	r.publishStarted(name)
	recording := s.waitReady(name).Recording
	publishWithdrawn := func(recording string) {
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
		s.waitFor("the message to be consumed", func() bool { return s.count(`select count(*) from queue.message`) == 0 })
	}
	publishWithdrawn("")
	publishWithdrawn("recordings/" + strings.Repeat("a", 26))
	if _, err := r.GetRecording(r.ctx(anonymous), &mediapb.GetRecordingRequest{Name: recording.Name}); err != nil {
		t.Errorf("after the withdrawal of another talk: %v", err)
	}
	publishWithdrawn(recording.Name)
	publishWithdrawn(recording.Name) // redelivered
	_, err := r.GetRecording(r.ctx(anonymous), &mediapb.GetRecordingRequest{Name: recording.Name})
	wantReason(t, err, "RECORDING_NOT_FOUND")
	_, err = r.readFile(anonymous, recording.Poster, 0, 0)
	wantReason(t, err, "FILE_NOT_FOUND")
	if files, chunks := r.sweep(); files+chunks > 0 {
		t.Errorf("got %d files and %d chunks left, want none", files, chunks)
	}
	if got := s.count(`select count(*) from queue.dead_letter`); got != 0 {
		t.Errorf("got %d dead letters, want none", got)
	}
}
