package media

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a recording may be.
const (
	longest   = 12 * time.Hour
	leastEdge = 16
	mostEdge  = 8192
)

// Codecs that are decoded: those of cameras, recorders and editors. Each decoder
// reads what strangers send, so there are no more than that.
var (
	videoCodecs = []string{"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "prores", "mjpeg"}
	audioCodecs = []string{"aac", "mp3", "opus", "vorbis", "flac", "ac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_f32le"}
)

// facts are what is known of a recording.
type facts struct {
	container
	duration      time.Duration // until picture and sound have both ended
	end           float64       // of its video, in seconds
	video, audio  int           // the streams that are used; audio is -1 for none
	codec, sound  string
	width, height int // as shown: upright, in square pixels
	rate          rate
	colours       colours
}

// rate is frames a second.
type rate struct{ frames, seconds int }

func (r rate) perSecond() float64 { return float64(r.frames) / float64(r.seconds) }

// atMost returns r, or what average rounds up to where the frames that are there make less
// than nine tenths of r.
func (r rate) atMost(average float64) rate {
	if average >= 0.9*r.perSecond() {
		return r
	}
	return rateOf(fmt.Sprintf("%.0f/1", max(1, math.Ceil(average))))
}

func (r rate) String() string { return fmt.Sprintf("%d/%d", r.frames, r.seconds) }

// answer is what ffprobe answers.
type answer struct {
	Streams []stream
	Format  struct{ Duration string }
}

type stream struct {
	Index         int
	Codec         string `json:"codec_name"`
	Type          string `json:"codec_type"`
	Width, Height int
	PixelAspect   string `json:"sample_aspect_ratio"`
	Matrix        string `json:"color_space"`
	Transfer      string `json:"color_transfer"`
	Primaries     string `json:"color_primaries"`
	Rate          string `json:"avg_frame_rate"`
	Duration      string
	Tags          map[string]string
	Disposition   struct {
		Picture int `json:"attached_pic"`
	}
	SideData []struct{ Rotation float64 } `json:"side_data_list"`
}

// probe asks ffprobe what a file holds.
func (t tools) probe(ctx context.Context, w *workFolder, name string, c container) (a answer, err error) {
	var text strings.Builder
	_, err = command{
		program: t.ffprobe, folder: w.path, timeout: probeTimeout, output: 0,
		arguments: slices.Concat([]string{"-v", "error"}, reading(c, name), []string{"-show_format", "-show_streams", "-of", "json"}),
	}.run(ctx, func(line string) { text.WriteString(line + "\n") })
	if err == nil {
		err = json.Unmarshal([]byte(text.String()), &a)
	}
	return a, err
}

// examine finds out what a recording is, and refuses what is none, or is too
// much. Its video and its sound are read to their ends once: headers do not
// always say how long they last, and a file that is cut off says so then.
func (t tools) examine(ctx context.Context, w *workFolder, c container) (f facts, err error) {
	a, err := t.probe(ctx, w, original, c)
	switch {
	case gaveUp(err):
		return f, unusable("this file cannot be read as %s: it may be incomplete or damaged (%s). Check that it plays, and upload the whole file again.", c.contentType, shortly(err))
	case err != nil:
		return f, err
	}
	if f, err = a.facts(c); err != nil {
		return f, err
	}
	video, complaints, err := t.readThrough(ctx, w, f, f.video)
	if err != nil {
		return f, unreadable(err)
	}
	end := video.seconds
	claimed := a.videoDuration(f)
	if endsEarly.MatchString(complaints) || end < claimed*0.98-1 || end <= 0 {
		return f, unusable("this recording is incomplete: it should last %s, and what is there ends after %s. Upload the whole file again.", clock(claimed), clock(end))
	}
	f.end = max(end, claimed)
	if claimed == 0 { // recorders in browsers leave it out, and end is where the last picture begins
		f.end = end + 1/f.rate.perSecond()
	}
	// A file with few frames can claim a high rate: hours of duplicates to encode.
	f.rate = f.rate.atMost(float64(video.frames) / f.end)
	last := f.end
	if f.audio >= 0 {
		audio, _, err := t.readThrough(ctx, w, f, f.audio)
		if err != nil {
			return f, unreadable(err)
		}
		last = max(last, audio.seconds)
	}
	f.duration = time.Duration(last * float64(time.Second)).Round(time.Millisecond) // as it is kept
	return f, f.tooLong()
}

// unreadable returns the refusal of a recording that a program could not read to
// its end, or err when the file is not to blame.
func unreadable(err error) error {
	if gaveUp(err) {
		return unusable("this recording cannot be read to its end (%s). Check that it plays, and upload it again.", shortly(err))
	}
	return err
}

func (f facts) tooLong() error {
	if f.duration <= longest {
		return nil
	}
	return unusable("this recording lasts %s, and at most %s are taken: upload it in parts.", clock(f.duration.Seconds()), clock(longest.Seconds()))
}

// endsEarly is what ffmpeg's demuxers say of a file that is cut off.
var endsEarly = regexp.MustCompile(`partial file|File ended prematurely|Truncating packet|moov atom not found`)

// facts says what the answer means, or what is wrong with it.
func (a answer) facts(c container) (facts, error) {
	f := facts{container: c, video: -1, audio: -1}
	var other []string
	for _, s := range a.Streams {
		switch {
		case s.Type == "video" && s.Disposition.Picture == 0 && f.video < 0:
			if !slices.Contains(videoCodecs, s.Codec) {
				other = append(other, s.Codec)
				continue
			}
			f.video, f.codec, f.rate = s.Index, s.Codec, rateOf(s.Rate)
			f.width, f.height = s.shown()
			f.colours = s.colours(f.height)
		case s.Type == "audio" && f.audio < 0 && slices.Contains(audioCodecs, s.Codec):
			f.audio, f.sound = s.Index, s.Codec
		}
	}
	switch {
	case f.video < 0 && len(other) > 0:
		return f, unusable("the video is encoded as %s, which is not taken here. Convert it to H.264 in MP4, or VP9 in WebM.", strings.Join(other, ", "))
	case f.video < 0:
		return f, unusable("there is no video in this file, only %s. Upload a recording with a picture.", a.kinds())
	case min(f.width, f.height) < leastEdge || max(f.width, f.height) > mostEdge:
		return f, unusable("the picture has %d × %d pixels; %d to %d each way are taken. Convert it to 1920 × 1080.", f.width, f.height, leastEdge, mostEdge)
	}
	f.duration = time.Duration(number(a.Format.Duration) * float64(time.Second))
	return f, f.tooLong()
}

// kinds names the kinds of streams there are.
func (a answer) kinds() string {
	var all []string
	for _, s := range a.Streams {
		if s.Type != "" && !slices.Contains(all, s.Type) {
			all = append(all, s.Type)
		}
	}
	if len(all) == 0 {
		return "nothing"
	}
	return strings.Join(all, " and ")
}

// videoDuration is how long the video lasts by what the file says; 0 when it
// does not. What the file says of all of it may be the sound's.
func (a answer) videoDuration(f facts) float64 {
	for _, s := range a.Streams {
		if s.Index != f.video {
			continue
		}
		if d := number(s.Duration); d > 0 {
			return d
		}
		if d := clockTag(s.Tags["DURATION"]); d > 0 {
			return d
		}
	}
	if f.audio < 0 {
		return f.duration.Seconds()
	}
	return 0
}

// shown returns the picture's size as players show it: upright, and in square
// pixels. Stretching only ever enlarges a side, as in HTML's natural dimensions.
func (s stream) shown() (width, height int) {
	width, height = s.Width, s.Height
	if aspect := ratio(s.PixelAspect); aspect > 1 {
		width = stretched(width, aspect)
	} else if aspect > 0 {
		height = stretched(height, 1/aspect)
	}
	for _, d := range s.SideData {
		if math.Mod(math.Abs(d.Rotation), 180) == 90 {
			return height, width
		}
	}
	return width, height
}

func stretched(side int, by float64) int {
	return int(math.Round(min(float64(side)*by, math.MaxInt32)))
}

// ratio reads "64:45"; 0 for a ratio that is not known.
func ratio(text string) float64 {
	above, below, _ := strings.Cut(text, ":")
	if n := number(below); n > 0 {
		return number(above) / n
	}
	return 0
}

// rateOf reads "30000/1001", within what a talk needs: a smaller rate than 5
// would make long gaps, a greater one than 30 shows nothing more.
func rateOf(text string) rate {
	frames, seconds, _ := strings.Cut(text, "/")
	f, _ := strconv.Atoi(frames)
	s, _ := strconv.Atoi(seconds)
	switch {
	case f <= 0 || s <= 0:
		return rate{25, 1}
	case f > 30*s:
		return rate{30, 1}
	case f < 5*s:
		return rate{5, 1}
	}
	return rate{f, s}
}

// number reads a decimal number; 0 for what is none, or none that a recording
// has.
func number(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0 || n > 1e9 {
		return 0
	}
	return n
}

// clockTag reads Matroska's "01:02:03.456000000".
func clockTag(text string) float64 {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return 0
	}
	return number(parts[0])*3600 + number(parts[1])*60 + number(parts[2])
}

// clock writes seconds as people do.
func clock(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond).String()
}

// playable says whether browsers play it as it is.
func (f facts) playable() bool {
	sound := f.audio < 0 || slices.Contains([]string{"aac", "mp3", "opus", "vorbis", "flac"}, f.sound)
	switch f.container {
	case mp4:
		return sound && slices.Contains([]string{"h264", "av1", "vp9"}, f.codec)
	case webm:
		return sound && slices.Contains([]string{"vp8", "vp9", "av1"}, f.codec)
	}
	return false
}
