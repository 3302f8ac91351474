package media_test

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// publish uploads and transcodes a recording of ada's. It returns the recording, and the
// steps of its operation.
func (r *replica) publish(fileName string, data []byte) (*mediapb.Recording, string) {
	r.site.t.Helper()
	name := r.process(r.uploadFile(ada, fileName, data), fileName)
	r.publishStarted(name)
	return r.site.waitReady(name).Recording, r.site.operations.state(name).log()
}

// poster decodes the poster of a recording.
func (r *replica) poster(recording *mediapb.Recording) image.Image {
	r.site.t.Helper()
	data, err := r.readFile(anonymous, recording.Poster, 0, 0)
	if err != nil {
		r.site.t.Fatal(err)
	}
	picture, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		r.site.t.Fatal(err)
	}
	return picture
}

// videoStream returns the properties of a rendition's video stream, as ffprobe prints them.
func (r *replica) videoStream(file string) string {
	r.site.t.Helper()
	data, err := r.readFile(anonymous, file, 0, 0)
	if err != nil {
		r.site.t.Fatal(err)
	}
	path := filepath.Join(r.site.t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		r.site.t.Fatal(err)
	}
	output, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v:0", "-of", "csv=p=0",
		"-show_entries", "stream=width,height,sample_aspect_ratio,color_space,color_transfer,color_primaries", path).CombinedOutput()
	if err != nil {
		r.site.t.Fatalf("ffprobe: %v\n%s", err, output)
	}
	return strings.TrimSpace(string(output))
}

func TestRenditionsHaveSquarePixels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	for _, c := range []struct {
		name, size, aspect string
		rotated            bool
		display, small     image.Point
	}{
		{"wide pixels", "720x576", "64/45", false, image.Pt(1024, 576), image.Pt(852, 480)},
		{"narrow pixels", "720x480", "8/9", false, image.Pt(720, 540), image.Pt(640, 480)},
		{"wide pixels rotated by a phone", "360x288", "64/45", true, image.Pt(288, 512), image.Pt(270, 480)},
	} {
		t.Run(c.name, func(t *testing.T) {
			arguments := []string{"-f", "lavfi", "-i", "testsrc=rate=10:size=" + c.size, "-t", "1", "-vf", "setsar=" + c.aspect, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"}
			data := ffmpeg(t, ".mp4", arguments...)
			if c.rotated {
				path := filepath.Join(t.TempDir(), "upright.mp4")
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				data = ffmpeg(t, ".mp4", "-i", path, "-c", "copy", "-metadata:s:v:0", "rotate=90")
			}
			recording, steps := r.publish(c.name, data)
			if size := fmt.Sprintf("%d × %d,", c.display.X, c.display.Y); !strings.Contains(steps, size) {
				t.Errorf("got steps %q, want %s", steps, size)
			}
			if original := recording.Renditions[0]; int(original.Width) != c.display.X || int(original.Height) != c.display.Y {
				t.Errorf("got original %v, want size %v", original, c.display)
			}
			if got := r.poster(recording).Bounds().Size(); got != c.display {
				t.Errorf("got poster size %v, want %v", got, c.display)
			}
			if got, want := r.videoStream(recording.Renditions[1].File), fmt.Sprintf("%d,%d,1:1,", c.small.X, c.small.Y); !strings.HasPrefix(got, want) {
				t.Errorf("got 480p video %s, want prefix %s", got, want)
			}
		})
	}
}

// Browsers' recorders write no duration, and no frames while nothing moves.
func TestDurationIsThatOfTheLongerStream(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	vp8 := []string{"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus", "-f", "webm", "-live", "1"}
	source := []string{"-f", "lavfi", "-i", "testsrc=size=160x120:rate=10,trim=end=2", "-f", "lavfi", "-i", "sine,atrim=end=20"}
	for _, c := range []struct {
		name string
		data []byte
		want time.Duration
	}{
		{"audio after the last frame", ffmpeg(t, ".webm", append(source, vp8...)...), 20 * time.Second},
		{"video after the audio", ffmpeg(t, ".webm", append([]string{"-f", "lavfi", "-i", "testsrc=size=160x120:rate=10,trim=end=6", "-f", "lavfi", "-i", "sine,atrim=end=2"}, vp8...)...), 6 * time.Second},
		{"video only", ffmpeg(t, ".webm", append([]string{"-f", "lavfi", "-i", "testsrc=size=160x120:rate=10,trim=end=6"}, vp8...)...), 6 * time.Second},
		{"header", ffmpeg(t, ".mp4", append(source, "-c:v", "mpeg4", "-c:a", "aac")...), 20 * time.Second},
	} {
		recording, steps := r.publish(c.name, c.data)
		if got := recording.Duration.AsDuration(); (got - c.want).Abs() > 100*time.Millisecond {
			t.Errorf("%s: got duration %s, want %s", c.name, got, c.want)
		}
		if want := "Checked: " + c.want.String(); !strings.Contains(steps, want) {
			t.Errorf("%s: got steps %q, want %q", c.name, steps, want)
		}
	}
}

// The file has three frames, a minute apart, and declares 30 frames a second.
func Test480pDoesNotPadDeclaredFrameRateWithDuplicates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	data := ffmpeg(t, ".webm", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=30,trim=end=0.1", "-vf", "settb=1/1000,setpts=N*60/TB", "-fps_mode", "passthrough", "-c:v", "libvpx")
	recording, _ := r.publish("gaps", data)
	small, err := r.readFile(anonymous, recording.Renditions[1].File, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := probe(t, small), "h264,160,120,600"; got != want {
		t.Errorf("got 480p video %s, want %s (five frames a second)", got, want)
	}
}

// The header declares no duration.
func TestDurationLimitAppliesToAudio(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	data := ffmpeg(t, ".mkv", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=1,trim=end=2", "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono,atrim=end=43300",
		"-c:v", "mpeg4", "-c:a", "flac", "-frame_size", "65535", "-compression_level", "0", "-live", "1")
	name := r.process(r.uploadFile(ada, "long.mkv", data), "long")
	r.publishStarted(name)
	if reason, message := s.waitEnded(name).reason(); reason != "RECORDING_UNUSABLE" || !strings.Contains(message, "the limit is 12h0m0s") {
		t.Errorf("got %s %q, want RECORDING_UNUSABLE with the limit", reason, message)
	}
}

// bars returns a video of vertical colour bars: frames in BT.709, converted by a filter.
func bars(t *testing.T, filter string, encoder ...string) []byte {
	base := "scale=in_color_matrix=bt601:out_color_matrix=bt709,setparams=colorspace=bt709:color_trc=bt709:color_primaries=bt709:range=tv"
	return ffmpeg(t, ".mp4", append([]string{"-f", "lavfi", "-i", "smptebars=size=640x360:rate=10", "-t", "1", "-vf", base + filter}, encoder...)...)
}

// barColours are the colours of SMPTE bars at 75 % amplitude, from the left.
var barColours = []color.RGBA{
	{191, 191, 191, 255}, {191, 191, 0, 255}, {0, 191, 191, 255}, {0, 191, 0, 255}, {191, 0, 191, 255}, {191, 0, 0, 255}, {0, 0, 191, 255},
}

// wantBars fails the test unless a picture shows the bars, with each channel off by at most
// tolerance.
func wantBars(t *testing.T, what string, picture image.Image, tolerance int) {
	t.Helper()
	size := picture.Bounds().Size()
	for i, want := range barColours {
		got := color.RGBAModel.Convert(picture.At((2*i+1)*size.X/(2*len(barColours)), size.Y/2)).(color.RGBA)
		for _, diff := range []int{int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B)} {
			if max(diff, -diff) > tolerance {
				t.Errorf("%s: got bar %d %v, want %v", what, i, got, want)
				break
			}
		}
	}
}

// frame decodes the first frame of a video.
func frame(t *testing.T, data []byte) image.Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "video")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	picture, err := jpeg.Decode(bytes.NewReader(ffmpeg(t, ".jpg", "-i", path, "-frames:v", "1", "-vf", "scale=out_color_matrix=bt601:out_range=pc,format=yuvj420p", "-q:v", "2")))
	if err != nil {
		t.Fatal(err)
	}
	return picture
}

func TestRenditionsAreConvertedToBT709(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	h264 := []string{"-c:v", "libx264", "-preset", "ultrafast"}
	hevc := []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"}
	linear := ",zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt2020,zscale=m=bt2020nc:r=tv:npl=203:t="
	for _, c := range []struct {
		name      string
		data      []byte
		tolerance int // tone mapping dims midtones to leave headroom for highlights
	}{
		{"SDR", bars(t, ",format=yuv420p", h264...), 8},
		{"untagged SDR", bars(t, ",scale=1280:720:flags=neighbor,format=yuv420p,setparams=colorspace=unknown:color_trc=unknown:color_primaries=unknown", h264...), 8},
		{"wide-gamut SDR", bars(t, linear+"bt2020-10,format=yuv420p10le", hevc...), 30},
		{"PQ", bars(t, linear+"smpte2084,format=yuv420p10le", hevc...), 40},
		{"HLG", bars(t, linear+"arib-std-b67,format=yuv420p10le", hevc...), 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			recording, steps := r.publish(c.name, c.data)
			if len(recording.LeftOut) > 0 {
				t.Fatalf("got steps left out %q, want none\n%s", recording.LeftOut, steps)
			}
			wantBars(t, "poster", r.poster(recording), c.tolerance)
			for _, rendition := range recording.Renditions {
				if !strings.HasSuffix(rendition.File, "/480p") {
					continue
				}
				if got := r.videoStream(rendition.File); !strings.HasSuffix(got, ",bt709,bt709,bt709") {
					t.Errorf("got 480p video %s, want BT.709 tags", got)
				}
				data, err := r.readFile(anonymous, rendition.File, 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				wantBars(t, "480p version", frame(t, data), c.tolerance)
			}
		})
	}
}

func TestMissingColourFilterIsReportedAsLeftOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(withoutFilter(t, "zscale"))
	data := bars(t, ",zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt2020,zscale=m=bt2020nc:r=tv:npl=203:t=smpte2084,format=yuv420p10le",
		"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error")
	recording, steps := r.publish("hdr.mp4", data)
	if len(recording.LeftOut) != 1 || !strings.Contains(recording.LeftOut[0], "no zscale or tonemap filter") || !strings.Contains(steps, recording.LeftOut[0]) {
		t.Errorf("got steps left out %q, want the colour conversion\n%s", recording.LeftOut, steps)
	}
	if len(recording.Renditions) != 2 || recording.Poster == "" {
		t.Errorf("got recording %v, want two renditions and a poster", recording)
	}
}
