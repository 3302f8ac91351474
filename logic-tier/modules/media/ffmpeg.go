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

// Times that the steps of making a recording may take: what they take on a busy
// machine, many times over. Those that read all of it have time in proportion.
const (
	probeTimeout   = time.Minute
	posterTimeout  = 2 * time.Minute
	mostReadTime   = time.Hour
	segmentPerTime = 30 // a second of video may take so many
	mostJoinTime   = 2 * time.Hour
	leastTime      = time.Minute
)

// tools are the programs that read and make recordings.
type tools struct{ ffmpeg, ffprobe string }

// findTools finds them; false when one is missing.
func (m *Module) findTools() (t tools, found bool) {
	var err, other error
	t.ffmpeg, err = m.needs.LookPath("ffmpeg")
	t.ffprobe, other = m.needs.LookPath("ffprobe")
	return t, err == nil && other == nil
}

// reading is how a file that somebody sent is opened: by one demuxer, and nothing
// but files, whatever it refers to.
func reading(c container, name string) []string {
	return []string{"-protocol_whitelist", "file,pipe", "-f", c.demuxer, "-i", name}
}

// steady are what every run of ffmpeg begins with. Two threads: more cost memory,
// and the cores are others' too.
var steady = []string{"-nostdin", "-hide_banner", "-v", "error", "-y", "-threads", "2", "-filter_threads", "1"}

// progress is what ffmpeg says of itself by -progress.
type progress struct {
	seconds float64
	frames  int
}

// encode runs ffmpeg, and gives heed how far it is.
func (t tools) encode(ctx context.Context, w *workFolder, timeout time.Duration, output int64, heed func(progress), arguments ...[]string) (last progress, said string, err error) {
	all := slices.Concat(steady, []string{"-progress", "pipe:1", "-stats_period", "0.25"}, slices.Concat(arguments...))
	said, err = command{program: t.ffmpeg, arguments: all, folder: w.path, timeout: timeout, output: output}.run(ctx, func(line string) {
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
			if heed != nil {
				heed(last)
			}
		}
	})
	return last, said, err
}

// readThrough reads a whole stream without decoding it. It returns its length, which for
// video is where the last frame begins, its number of frames, and ffmpeg's complaints.
func (t tools) readThrough(ctx context.Context, w *workFolder, f facts, stream int) (progress, string, error) {
	timeout := between(leastTime, f.duration/4, mostReadTime)
	if f.duration <= 0 {
		timeout = mostReadTime
	}
	return t.encode(ctx, w, timeout, 0, nil, reading(f.container, original),
		[]string{"-map", fmt.Sprintf("0:%d", stream), "-c", "copy", "-f", "null", "-"})
}

// errNoFrame is that there is no picture where one was looked for.
var errNoFrame = errors.New("there is no picture there")

// picture takes a picture out of the recording: a tenth into it, where talks have
// begun, or its first. JPEG's colours are those of BT.601 in full range.
func (t tools) picture(ctx context.Context, w *workFolder, f facts) error {
	for _, at := range []float64{min(f.end/10, 30), 0} {
		last, _, err := t.encode(ctx, w, posterTimeout, posterMost, nil,
			[]string{"-ss", decimal(at)}, reading(f.container, original),
			[]string{"-map", fmt.Sprintf("0:%d", f.video), "-frames:v", "1",
				"-vf", f.colours.filter() + fitted(posterEdge, posterEdge) + f.colours.mapping() + ",scale=out_color_matrix=bt601:out_range=pc,format=yuvj420p",
				"-map_metadata", "-1", "-c:v", "mjpeg", "-q:v", "4", "-f", "image2", "-update", "1", poster})
		switch {
		case err != nil && !failed(err):
			return err
		case err == nil && last.frames > 0:
			return nil
		case at == 0 && err != nil:
			return err
		}
	}
	return &errFailed{"ffmpeg", errNoFrame, ""}
}

const (
	// posterEdge bounds a poster's sides, in pixels: a player is hardly wider.
	posterEdge = 1280
	// posterMost bounds a poster, in bytes: many times what one of its size has.
	posterMost = 4 << 20
)

func decimal(seconds float64) string { return strconv.FormatFloat(seconds, 'f', 6, 64) }

func between(least, wanted, most time.Duration) time.Duration { return min(max(least, wanted), most) }

// shortly is what a program said last, for people.
func shortly(err error) string {
	var f *errFailed
	if !errors.As(err, &f) {
		return "no reason was given"
	}
	said := f.said[strings.LastIndexByte(f.said, '\n')+1:]
	if said == "" {
		said = f.cause.Error()
	}
	if runes := []rune(said); len(runes) > 200 {
		said = string(runes[:200]) + "…"
	}
	return said
}
