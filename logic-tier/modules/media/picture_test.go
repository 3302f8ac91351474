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

// published processes a recording of ada's and returns it, with what its
// operation reported.
func (r *replica) published(fileName string, data []byte) (*mediapb.Recording, string) {
	r.site.t.Helper()
	name := r.process(r.send(ada, fileName, data), fileName)
	r.startWork(name)
	return r.site.made(name).Recording, r.site.operations.state(name).said()
}

// poster returns a recording's poster.
func (r *replica) poster(of *mediapb.Recording) image.Image {
	r.site.t.Helper()
	data, err := r.read(nobody, of.Poster, 0, 0)
	if err != nil {
		r.site.t.Fatal(err)
	}
	picture, err := jpeg.Decode(bytes.NewReader(data))
	if err != nil {
		r.site.t.Fatal(err)
	}
	return picture
}

// videoStream returns what ffprobe says of a rendition's video.
func (r *replica) videoStream(file string) string {
	r.site.t.Helper()
	data, err := r.read(nobody, file, 0, 0)
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

func TestPicturesAreInSquarePixels(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	for _, c := range []struct {
		name, stored, pixels string
		turned               bool
		shown, small         image.Point
	}{
		{"wide pixels", "720x576", "64/45", false, image.Pt(1024, 576), image.Pt(852, 480)},
		{"narrow pixels", "720x480", "8/9", false, image.Pt(720, 540), image.Pt(640, 480)},
		{"wide pixels turned by a phone", "360x288", "64/45", true, image.Pt(288, 512), image.Pt(270, 480)},
	} {
		t.Run(c.name, func(t *testing.T) {
			arguments := []string{"-f", "lavfi", "-i", "testsrc=rate=10:size=" + c.stored, "-t", "1", "-vf", "setsar=" + c.pixels, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"}
			data := ffmpeg(t, ".mp4", arguments...)
			if c.turned {
				path := filepath.Join(t.TempDir(), "upright.mp4")
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				data = ffmpeg(t, ".mp4", "-i", path, "-c", "copy", "-metadata:s:v:0", "rotate=90")
			}
			of, said := r.published(c.name, data)
			if size := fmt.Sprintf("%d × %d,", c.shown.X, c.shown.Y); !strings.Contains(said, size) {
				t.Errorf("the operation reports %q, want %s", said, size)
			}
			if whole := of.Renditions[0]; int(whole.Width) != c.shown.X || int(whole.Height) != c.shown.Y {
				t.Errorf("the original is %v, want %v", whole, c.shown)
			}
			if got := r.poster(of).Bounds().Size(); got != c.shown {
				t.Errorf("the poster is %v, want %v", got, c.shown)
			}
			if got, want := r.videoStream(of.Renditions[1].File), fmt.Sprintf("%d,%d,1:1,", c.small.X, c.small.Y); !strings.HasPrefix(got, want) {
				t.Errorf("the 480p version is %s, want %s", got, want)
			}
		})
	}
}

// A recorder in a browser writes no duration, and no picture while nothing moves.
func TestDurationReachesTheLaterEndOfPictureAndSound(t *testing.T) {
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
		{"sound after the last picture", ffmpeg(t, ".webm", append(source, vp8...)...), 20 * time.Second},
		{"pictures after the sound", ffmpeg(t, ".webm", append([]string{"-f", "lavfi", "-i", "testsrc=size=160x120:rate=10,trim=end=6", "-f", "lavfi", "-i", "sine,atrim=end=2"}, vp8...)...), 6 * time.Second},
		{"pictures alone", ffmpeg(t, ".webm", append([]string{"-f", "lavfi", "-i", "testsrc=size=160x120:rate=10,trim=end=6"}, vp8...)...), 6 * time.Second},
		{"a header", ffmpeg(t, ".mp4", append(source, "-c:v", "mpeg4", "-c:a", "aac")...), 20 * time.Second},
	} {
		of, said := r.published(c.name, c.data)
		if got := of.Duration.AsDuration(); (got - c.want).Abs() > 100*time.Millisecond {
			t.Errorf("%s: the recording lasts %s, want %s", c.name, got, c.want)
		}
		if rounded := "Checked: " + c.want.String(); !strings.Contains(said, rounded) {
			t.Errorf("%s: the operation reports %q, want %q", c.name, said, rounded)
		}
	}
}

// Three frames a minute apart whose file claims 30 frames a second.
func TestClaimedFrameRateIsNotFilledWithDuplicates(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	data := ffmpeg(t, ".webm", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=30,trim=end=0.1", "-vf", "settb=1/1000,setpts=N*60/TB", "-fps_mode", "passthrough", "-c:v", "libvpx")
	of, _ := r.published("gaps", data)
	small, err := r.read(nobody, of.Renditions[1].File, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := probed(t, small), "h264,160,120,600"; got != want {
		t.Errorf("the 480p version is %s, want %s: five frames a second", got, want)
	}
}

// The limit holds for sound that no header announces.
func TestSoundCountsTowardsTheLongestDuration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	data := ffmpeg(t, ".mkv", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=1,trim=end=2", "-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono,atrim=end=43300",
		"-c:v", "mpeg4", "-c:a", "flac", "-frame_size", "65535", "-compression_level", "0", "-live", "1")
	name := r.process(r.send(ada, "long.mkv", data), "long")
	r.startWork(name)
	if reason, message := s.ended(name).reason(); reason != "RECORDING_UNUSABLE" || !strings.Contains(message, "at most 12h0m0s") {
		t.Errorf("it ends with %q: %s", reason, message)
	}
}

// bars are vertical colour bars, encoded for a kind of screen: frames of BT.709
// whose colours convert are then converted by the filter.
func bars(t *testing.T, convert string, encoder ...string) []byte {
	filter := "scale=in_color_matrix=bt601:out_color_matrix=bt709,setparams=colorspace=bt709:color_trc=bt709:color_primaries=bt709:range=tv" + convert
	return ffmpeg(t, ".mp4", append([]string{"-f", "lavfi", "-i", "smptebars=size=640x360:rate=10", "-t", "1", "-vf", filter}, encoder...)...)
}

// barColours are those of SMPTE bars at three quarters, from the left.
var barColours = []color.RGBA{
	{191, 191, 191, 255}, {191, 191, 0, 255}, {0, 191, 191, 255}, {0, 191, 0, 255}, {191, 0, 191, 255}, {191, 0, 0, 255}, {0, 0, 191, 255},
}

// hues fails unless a picture shows the bars, each channel off by at most slack.
func hues(t *testing.T, what string, picture image.Image, slack int) {
	t.Helper()
	size := picture.Bounds().Size()
	for i, want := range barColours {
		got := color.RGBAModel.Convert(picture.At((2*i+1)*size.X/(2*len(barColours)), size.Y/2)).(color.RGBA)
		for _, off := range []int{int(got.R) - int(want.R), int(got.G) - int(want.G), int(got.B) - int(want.B)} {
			if max(off, -off) > slack {
				t.Errorf("%s: bar %d is %v, want %v", what, i, got, want)
				break
			}
		}
	}
}

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

func TestColoursAreThoseOfBT709(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	h264 := []string{"-c:v", "libx264", "-preset", "ultrafast"}
	hevc := []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error"}
	linear := ",zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt2020,zscale=m=bt2020nc:r=tv:npl=203:t="
	for _, c := range []struct {
		name  string
		data  []byte
		slack int // a curve that leaves room for highlights dims what is below them
	}{
		{"SDR", bars(t, ",format=yuv420p", h264...), 8},
		{"SDR that does not say so", bars(t, ",scale=1280:720:flags=neighbor,format=yuv420p,setparams=colorspace=unknown:color_trc=unknown:color_primaries=unknown", h264...), 8},
		{"SDR of a wide gamut", bars(t, linear+"bt2020-10,format=yuv420p10le", hevc...), 30},
		{"PQ", bars(t, linear+"smpte2084,format=yuv420p10le", hevc...), 40},
		{"HLG", bars(t, linear+"arib-std-b67,format=yuv420p10le", hevc...), 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			of, said := r.published(c.name, c.data)
			if len(of.LeftOut) > 0 {
				t.Fatalf("left out: %q\n%s", of.LeftOut, said)
			}
			hues(t, "the poster", r.poster(of), c.slack)
			for _, file := range of.Renditions {
				if !strings.HasSuffix(file.File, "/480p") {
					continue
				}
				if got := r.videoStream(file.File); !strings.HasSuffix(got, ",bt709,bt709,bt709") {
					t.Errorf("the 480p version is tagged %s", got)
				}
				data, err := r.read(nobody, file.File, 0, 0)
				if err != nil {
					t.Fatal(err)
				}
				hues(t, "the 480p version", frame(t, data), c.slack)
			}
		})
	}
}

func TestColoursThatCannotBeConvertedAreReported(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(without(t, "zscale"))
	data := bars(t, ",zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt2020,zscale=m=bt2020nc:r=tv:npl=203:t=smpte2084,format=yuv420p10le",
		"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error")
	of, said := r.published("hdr.mp4", data)
	if len(of.LeftOut) != 1 || !strings.Contains(of.LeftOut[0], "no zscale or tonemap filter") || !strings.Contains(said, of.LeftOut[0]) {
		t.Errorf("left out: %q\n%s", of.LeftOut, said)
	}
	if len(of.Renditions) != 2 || of.Poster == "" {
		t.Errorf("the recording is %v", of)
	}
}
