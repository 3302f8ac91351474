package media

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Timeouts of the steps of a transcode: many times what they take on a busy machine. Steps
// that read the whole recording get time in proportion to its length, within these bounds.
const (
	minTimeout     = time.Minute
	probeTimeout   = time.Minute
	posterTimeout  = 2 * time.Minute
	maxReadTimeout = time.Hour
	maxJoinTimeout = 2 * time.Hour
	// encodeTimeRatio is the seconds that encoding a second of video can take.
	encodeTimeRatio = 30
)

// tools holds the paths of the programs that read and write recordings.
type tools struct{ ffmpeg, ffprobe string }

// findTools looks up the programs. It reports false if one is missing.
func (m *Module) findTools() (t tools, found bool) {
	var ffmpegErr, ffprobeErr error
	t.ffmpeg, ffmpegErr = m.deps.LookPath("ffmpeg")
	t.ffprobe, ffprobeErr = m.deps.LookPath("ffprobe")
	return t, ffmpegErr == nil && ffprobeErr == nil
}

// inputArgs returns the arguments that open an untrusted file: with one demuxer, and with
// local files as the only protocol, whatever the file refers to.
func inputArgs(c container, name string) []string {
	return []string{"-protocol_whitelist", "file,pipe", "-f", c.demuxer, "-i", name}
}

// baseArgs are the first arguments of every run of ffmpeg. Two threads: more would take
// more memory, and cores from other transcodes and from requests.
var baseArgs = []string{"-nostdin", "-hide_banner", "-v", "error", "-y", "-threads", "2", "-filter_threads", "1"}

// progress is the progress that ffmpeg reports with -progress.
type progress struct {
	seconds float64
	frames  int
}

// run runs ffmpeg, and calls onProgress several times a second. It returns the last
// progress and the tail of stderr.
func (t tools) run(ctx context.Context, w *workDir, timeout time.Duration, maxFileSize int64, onProgress func(progress), arguments ...[]string) (last progress, stderr string, err error) {
	all := slices.Concat(baseArgs, []string{"-progress", "pipe:1", "-stats_period", "0.25"}, slices.Concat(arguments...))
	stderr, err = command{program: t.ffmpeg, arguments: all, dir: w.path, timeout: timeout, maxFileSize: maxFileSize}.run(ctx, func(line string) {
		key, value, _ := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		switch key {
		case "frame":
			last.frames, _ = strconv.Atoi(value)
		case "out_time_us":
			if microseconds, err := strconv.ParseInt(value, 10, 64); err == nil && microseconds > 0 {
				last.seconds = float64(microseconds) / 1e6
			}
		case "progress":
			if onProgress != nil {
				onProgress(last)
			}
		}
	})
	return last, stderr, err
}

// readStream reads a whole stream without decoding it. It returns the stream's length (for
// video, the start of the last frame), its number of frames, and the tail of stderr.
func (t tools) readStream(ctx context.Context, w *workDir, info mediaInfo, stream int) (progress, string, error) {
	timeout := clamp(minTimeout, info.duration/4, maxReadTimeout)
	if info.duration <= 0 {
		timeout = maxReadTimeout
	}
	return t.run(ctx, w, timeout, 0, nil, inputArgs(info.container, fileOriginal),
		[]string{"-map", fmt.Sprintf("0:%d", stream), "-c", "copy", "-f", "null", "-"})
}

var errNoFrame = errors.New("no frame found")

// extractPoster writes a frame of the video to a JPEG file. It takes the frame at a tenth
// of the length, where a talk has begun, or the first one. JPEG implies BT.601 colours in
// full range.
func (t tools) extractPoster(ctx context.Context, w *workDir, info mediaInfo) error {
	for _, start := range []float64{min(info.end/10, 30), 0} {
		last, _, err := t.run(ctx, w, posterTimeout, maxPosterBytes, nil,
			[]string{"-ss", formatSeconds(start)}, inputArgs(info.container, fileOriginal),
			[]string{"-map", fmt.Sprintf("0:%d", info.video), "-frames:v", "1",
				"-vf", info.colours.tagFilter() + fitFilter(posterSide, posterSide) + info.colours.convertFilter() + ",scale=out_color_matrix=bt601:out_range=pc,format=yuvj420p",
				"-map_metadata", "-1", "-c:v", "mjpeg", "-q:v", "4", "-f", "image2", "-update", "1", filePoster})
		switch {
		case err != nil && !isCommandError(err):
			return err
		case err == nil && last.frames > 0:
			return nil
		case start == 0 && err != nil:
			return err
		}
	}
	return &commandError{"ffmpeg", errNoFrame, ""}
}

const (
	// posterSide bounds the sides of a poster, in pixels: players are hardly wider.
	posterSide = 1280
	// maxPosterBytes bounds the size of a poster: many times what one of that size takes.
	maxPosterBytes = 4 << 20
)

func formatSeconds(seconds float64) string { return strconv.FormatFloat(seconds, 'f', 6, 64) }

func clamp(low, d, high time.Duration) time.Duration { return min(max(low, d), high) }

// shortReason returns the last line of a failed program's stderr, for users to read.
func shortReason(err error) string {
	var e *commandError
	if !errors.As(err, &e) {
		return "unknown reason"
	}
	line := e.stderr[strings.LastIndexByte(e.stderr, '\n')+1:]
	if line == "" {
		line = e.cause.Error()
	}
	if runes := []rune(line); len(runes) > 200 {
		line = string(runes[:200]) + "…"
	}
	return line
}
