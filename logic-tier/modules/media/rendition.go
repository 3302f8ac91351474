package media

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"
)

// Parameters of the 480p rendition, which a phone on a slow connection plays.
const (
	maxWidth480p, maxHeight480p = 854, 480
	// segmentSeconds is the approximate length of a segment, and so of the video between two
	// checkpoints: all that is encoded again after a worker was killed.
	segmentSeconds = 20.0
	// videoBitrate and audioBitrate are in bits per second. The encoder stays below the
	// first, which bounds the size of a segment and of the rendition.
	videoBitrate, audioBitrate = 2_000_000, 96_000
	// sizeSlack is what containers add to the size, and what the encoder can briefly exceed
	// its bit rate by, in bytes.
	sizeSlack = 8 << 20
)

// segmentPlan divides a video into segments. All have the same whole number of frames, so
// that they join without gaps.
type segmentPlan struct {
	mediaInfo
	frames  int     // per segment
	seconds float64 // per segment
	count   int
}

// newSegmentPlan returns a plan of segments of approximately the given length.
func newSegmentPlan(info mediaInfo, seconds float64) segmentPlan {
	p := segmentPlan{mediaInfo: info, frames: max(1, int(math.Round(seconds*info.rate.perSecond())))}
	p.seconds = float64(p.frames) / info.rate.perSecond()
	// Less than half a frame beyond the last segment adds no segment.
	p.count = max(1, int(math.Ceil((info.end-0.5/info.rate.perSecond())/p.seconds)))
	return p
}

func (p segmentPlan) start(i int) float64 { return float64(i) * p.seconds }

// encodeSegment encodes the i-th segment. It reports false if the segment has no frames,
// which is an error for all but the last one.
func (t tools) encodeSegment(ctx context.Context, w *workDir, p segmentPlan, i int, onProgress func(seconds float64)) (bool, error) {
	maxBytes := int64(p.seconds*videoBitrate/8) + sizeSlack
	timeout := minTimeout + time.Duration(p.seconds*encodeTimeRatio*float64(time.Second))
	filter := fmt.Sprintf("fps=%s:start_time=0,%s%s%s,format=yuv420p", p.rate, p.colours.tagFilter(), fitFilter(maxWidth480p, maxHeight480p), p.colours.convertFilter())
	last, _, err := t.run(ctx, w, timeout, maxBytes, func(now progress) { onProgress(p.start(i) + min(now.seconds, p.seconds)) },
		[]string{"-ss", formatSeconds(p.start(i)), "-t", formatSeconds(p.seconds)}, inputArgs(p.container, fileOriginal),
		[]string{"-map", fmt.Sprintf("0:%d", p.video), "-vf", filter, "-frames:v", fmt.Sprint(p.frames), "-map_metadata", "-1",
			// Without B-frames, frames are stored in presentation order, and segments join
			// without an offset.
			"-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main", "-bf", "0", "-crf", "26",
			"-maxrate", fmt.Sprint(videoBitrate * 3 / 4), "-bufsize", fmt.Sprint(videoBitrate), "-threads", "2",
			"-fs", fmt.Sprint(maxBytes), "-f", "mp4", segmentName(i)})
	switch {
	case err != nil && last.frames == 0 && i > 0 && i == p.count-1 && isCommandError(err):
		return false, nil
	case err != nil:
		return false, err
	case last.frames == 0 && i > 0 && i == p.count-1:
		return false, nil
	case last.frames == 0, i < p.count-1 && last.frames < p.frames:
		return false, &commandError{"ffmpeg", fmt.Errorf("got %d of %d frames from %s on", last.frames, p.frames, formatClock(p.start(i))), ""}
	}
	return true, nil
}

// join writes the 480p rendition from its segments and the original's sound.
func (t tools) join(ctx context.Context, w *workDir, p segmentPlan, segments []string) error {
	var list strings.Builder
	list.WriteString("ffconcat version 1.0\n")
	for _, name := range segments {
		fmt.Fprintf(&list, "file %s\nduration %s\n", name, formatSeconds(p.seconds))
	}
	if err := os.WriteFile(w.file("segments"), []byte(list.String()), 0o600); err != nil {
		return err
	}
	arguments := [][]string{
		{"-protocol_whitelist", "file,pipe", "-f", "concat", "-safe", "1", "-i", "segments"},
	}
	streams := []string{"-map", "0:v:0", "-c:v", "copy"}
	if p.audio >= 0 {
		arguments = append(arguments, inputArgs(p.container, fileOriginal))
		streams = slices.Concat(streams, []string{"-map", fmt.Sprintf("1:%d", p.audio), "-c:a", "aac", "-b:a", fmt.Sprint(audioBitrate), "-ac", "2", "-ar", "48000"})
	}
	length := max(p.duration.Seconds(), p.end)
	maxBytes := int64(length*(videoBitrate+audioBitrate)/8) + sizeSlack
	timeout := clamp(minTimeout, 2*minTimeout+time.Duration(length*float64(time.Second)), maxJoinTimeout)
	arguments = append(arguments, streams, []string{"-map_metadata", "-1", "-movflags", "+faststart", "-fs", fmt.Sprint(maxBytes), "-f", "mp4", file480p})
	last, _, err := t.run(ctx, w, timeout, maxBytes, nil, arguments...)
	if err == nil && last.seconds < p.end*0.98-1 {
		err = &commandError{"ffmpeg", fmt.Errorf("got %s of %s", formatClock(last.seconds), formatClock(p.end)), ""}
	}
	return err
}
