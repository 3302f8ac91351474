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

// Limits of an accepted recording; sides are in pixels.
const (
	maxDuration = 12 * time.Hour
	minSide     = 16
	maxSide     = 8192
)

// Accepted codecs: those of cameras, recorders and editors. Decoders read untrusted data,
// so the lists are short.
var (
	videoCodecs = []string{"h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg2video", "prores", "mjpeg"}
	audioCodecs = []string{"aac", "mp3", "opus", "vorbis", "flac", "ac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_f32le"}
)

// mediaInfo describes a recording.
type mediaInfo struct {
	container
	duration               time.Duration // of the longer of video and audio
	end                    float64       // of the video, in seconds
	video, audio           int           // indices of the streams used; audio is -1 for none
	videoCodec, audioCodec string
	width, height          int // as displayed: rotated, in square pixels
	rate                   frameRate
	colours                colours
}

// frameRate is a frame rate as a fraction.
type frameRate struct{ frames, seconds int }

func (r frameRate) perSecond() float64 { return float64(r.frames) / float64(r.seconds) }

// limitTo returns r, or average rounded up if average is below nine tenths of r.
func (r frameRate) limitTo(average float64) frameRate {
	if average >= 0.9*r.perSecond() {
		return r
	}
	return parseFrameRate(fmt.Sprintf("%.0f/1", max(1, math.Ceil(average))))
}

func (r frameRate) String() string { return fmt.Sprintf("%d/%d", r.frames, r.seconds) }

// probeResult is the JSON output of ffprobe.
type probeResult struct {
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

// probe runs ffprobe on a file.
func (t tools) probe(ctx context.Context, w *workDir, name string, c container) (r probeResult, err error) {
	var output strings.Builder
	_, err = command{
		program: t.ffprobe, dir: w.path, timeout: probeTimeout, maxFileSize: 0,
		arguments: slices.Concat([]string{"-v", "error"}, inputArgs(c, name), []string{"-show_format", "-show_streams", "-of", "json"}),
	}.run(ctx, func(line string) { output.WriteString(line + "\n") })
	if err == nil {
		err = json.Unmarshal([]byte(output.String()), &r)
	}
	return r, err
}

// inspect determines the properties of the original. It rejects a file that is not a
// recording, exceeds the limits or is truncated. It reads the video and audio streams to
// their ends once: headers do not always give their length, and only reading finds
// truncation.
func (t tools) inspect(ctx context.Context, w *workDir, c container) (info mediaInfo, err error) {
	probed, err := t.probe(ctx, w, fileOriginal, c)
	switch {
	case rejectedInput(err):
		return info, unusable("this file cannot be read as %s: it may be incomplete or damaged (%s). Check that it plays, and upload the whole file again.", c.contentType, shortReason(err))
	case err != nil:
		return info, err
	}
	if info, err = probed.info(c); err != nil {
		return info, err
	}
	video, stderr, err := t.readStream(ctx, w, info, info.video)
	if err != nil {
		return info, readError(err)
	}
	end := video.seconds
	declared := probed.videoDuration(info)
	if truncatedPattern.MatchString(stderr) || end < declared*0.98-1 || end <= 0 {
		return info, unusable("this recording is incomplete: it should last %s, but ends after %s. Upload the whole file again.", formatClock(declared), formatClock(end))
	}
	info.end = max(end, declared)
	if declared == 0 { // browsers' recorders omit the duration, and end is the start of the last frame
		info.end = end + 1/info.rate.perSecond()
	}
	// A file with few frames can declare a high rate, which would encode hours of duplicates.
	info.rate = info.rate.limitTo(float64(video.frames) / info.end)
	longest := info.end
	if info.audio >= 0 {
		audio, _, err := t.readStream(ctx, w, info, info.audio)
		if err != nil {
			return info, readError(err)
		}
		longest = max(longest, audio.seconds)
	}
	info.duration = time.Duration(longest * float64(time.Second)).Round(time.Millisecond) // as stored
	return info, info.checkDuration()
}

// readError returns a rejection if err means that ffmpeg could not read the recording to
// its end, and err itself if the file is not to blame.
func readError(err error) error {
	if rejectedInput(err) {
		return unusable("this recording cannot be read to its end (%s). Check that it plays, and upload it again.", shortReason(err))
	}
	return err
}

func (i mediaInfo) checkDuration() error {
	if i.duration <= maxDuration {
		return nil
	}
	return unusable("this recording lasts %s; the limit is %s. Split it, and upload the parts.", formatClock(i.duration.Seconds()), formatClock(maxDuration.Seconds()))
}

// truncatedPattern matches what ffmpeg's demuxers report about a truncated file.
var truncatedPattern = regexp.MustCompile(`partial file|File ended prematurely|Truncating packet|moov atom not found`)

// info returns what the headers say about a recording, or rejects it.
func (r probeResult) info(c container) (mediaInfo, error) {
	info := mediaInfo{container: c, video: -1, audio: -1}
	var unsupported []string
	for _, s := range r.Streams {
		switch {
		case s.Type == "video" && s.Disposition.Picture == 0 && info.video < 0:
			if !slices.Contains(videoCodecs, s.Codec) {
				unsupported = append(unsupported, s.Codec)
				continue
			}
			info.video, info.videoCodec, info.rate = s.Index, s.Codec, parseFrameRate(s.Rate)
			info.width, info.height = s.displaySize()
			info.colours = s.colours(info.height)
		case s.Type == "audio" && info.audio < 0 && slices.Contains(audioCodecs, s.Codec):
			info.audio, info.audioCodec = s.Index, s.Codec
		}
	}
	switch {
	case info.video < 0 && len(unsupported) > 0:
		return info, unusable("the video is encoded as %s, which is not supported. Convert it to H.264 in MP4, or VP9 in WebM.", strings.Join(unsupported, ", "))
	case info.video < 0:
		return info, unusable("there is no video in this file, only %s. Upload a recording with a picture.", r.streamTypes())
	case min(info.width, info.height) < minSide || max(info.width, info.height) > maxSide:
		return info, unusable("the picture has %d × %d pixels; each side must have %d to %d. Convert it to 1920 × 1080.", info.width, info.height, minSide, maxSide)
	}
	info.duration = time.Duration(parseNumber(r.Format.Duration) * float64(time.Second))
	return info, info.checkDuration()
}

// streamTypes lists the types of the streams, for users to read.
func (r probeResult) streamTypes() string {
	var types []string
	for _, s := range r.Streams {
		if s.Type != "" && !slices.Contains(types, s.Type) {
			types = append(types, s.Type)
		}
	}
	if len(types) == 0 {
		return "nothing"
	}
	return strings.Join(types, " and ")
}

// videoDuration returns the duration that the headers declare for the video, in seconds; 0
// if they do not. The duration of the whole file does not count if there is audio, since it
// may be the audio's.
func (r probeResult) videoDuration(info mediaInfo) float64 {
	for _, s := range r.Streams {
		if s.Index != info.video {
			continue
		}
		if d := parseNumber(s.Duration); d > 0 {
			return d
		}
		if d := parseClock(s.Tags["DURATION"]); d > 0 {
			return d
		}
	}
	if info.audio < 0 {
		return info.duration.Seconds()
	}
	return 0
}

// displaySize returns the size at which players show the picture: rotated, and in square
// pixels. As with HTML's natural dimensions, non-square pixels only ever enlarge a side.
func (s stream) displaySize() (width, height int) {
	width, height = s.Width, s.Height
	if aspect := parseRatio(s.PixelAspect); aspect > 1 {
		width = stretch(width, aspect)
	} else if aspect > 0 {
		height = stretch(height, 1/aspect)
	}
	for _, d := range s.SideData {
		if math.Mod(math.Abs(d.Rotation), 180) == 90 {
			return height, width
		}
	}
	return width, height
}

func stretch(side int, factor float64) int {
	return int(math.Round(min(float64(side)*factor, math.MaxInt32)))
}

// parseRatio parses "64:45". It returns 0 for an unknown ratio.
func parseRatio(text string) float64 {
	numerator, denominator, _ := strings.Cut(text, ":")
	if n := parseNumber(denominator); n > 0 {
		return parseNumber(numerator) / n
	}
	return 0
}

// parseFrameRate parses "30000/1001" and clamps the rate to what a talk needs: below 5
// frames a second there are long gaps, and above 30 nothing more is visible. It returns 25
// for an unknown rate.
func parseFrameRate(text string) frameRate {
	frames, seconds, _ := strings.Cut(text, "/")
	f, _ := strconv.Atoi(frames)
	s, _ := strconv.Atoi(seconds)
	switch {
	case f <= 0 || s <= 0:
		return frameRate{25, 1}
	case f > 30*s:
		return frameRate{30, 1}
	case f < 5*s:
		return frameRate{5, 1}
	}
	return frameRate{f, s}
}

// parseNumber parses a decimal number. It returns 0 for anything that is not a number, and
// for numbers that no recording has.
func parseNumber(text string) float64 {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0 || n > 1e9 {
		return 0
	}
	return n
}

// parseClock parses a duration in Matroska's format, "01:02:03.456000000", into seconds. It
// returns 0 for anything else.
func parseClock(text string) float64 {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return 0
	}
	return parseNumber(parts[0])*3600 + parseNumber(parts[1])*60 + parseNumber(parts[2])
}

// formatClock formats seconds for users to read, rounded to tenths.
func formatClock(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(100 * time.Millisecond).String()
}

// playable reports whether browsers can play the original.
func (i mediaInfo) playable() bool {
	sound := i.audio < 0 || slices.Contains([]string{"aac", "mp3", "opus", "vorbis", "flac"}, i.audioCodec)
	switch i.container {
	case mp4:
		return sound && slices.Contains([]string{"h264", "av1", "vp9"}, i.videoCodec)
	case webm:
		return sound && slices.Contains([]string{"vp8", "vp9", "av1"}, i.videoCodec)
	}
	return false
}
