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

// The 480p rendition: what a phone on a slow line plays.
const (
	smallWidth, smallHeight = 854, 480
	// segmentSeconds is how much is made between two checkpoints: what a killed
	// worker's successor does again at most.
	segmentSeconds = 20.0
	// videoBits and soundBits are bits a second: the encoder keeps under the
	// first, so that a segment's size, and all of it, is known to be bounded.
	videoBits, soundBits = 2_000_000, 96_000
	// slack is what containers add, and what the encoder may run over for a
	// moment.
	slack = 8 << 20
)

// plan is how the video is cut into segments: each has the same whole number of
// frames, so that they follow each other without a gap.
type plan struct {
	facts
	frames  int     // of a segment
	seconds float64 // of a segment
	count   int
}

func newPlan(f facts, about float64) plan {
	p := plan{facts: f, frames: max(1, int(math.Round(about*f.rate.perSecond())))}
	p.seconds = float64(p.frames) / f.rate.perSecond()
	// Less than a frame over the end is no segment.
	p.count = max(1, int(math.Ceil((f.end-0.5/f.rate.perSecond())/p.seconds)))
	return p
}

func (p plan) start(i int) float64 { return float64(i) * p.seconds }

// encodeSegment makes the i-th segment; false when there is no frame in it, which
// only the last may say.
func (t tools) encodeSegment(ctx context.Context, w *workFolder, p plan, i int, heed func(seconds float64)) (bool, error) {
	most := int64(p.seconds*videoBits/8) + slack
	timeout := leastTime + time.Duration(p.seconds*segmentPerTime*float64(time.Second))
	filter := fmt.Sprintf("fps=%s:start_time=0,%s%s%s,format=yuv420p", p.rate, p.colours.filter(), fitted(smallWidth, smallHeight), p.colours.mapping())
	last, _, err := t.encode(ctx, w, timeout, most, func(now progress) { heed(p.start(i) + min(now.seconds, p.seconds)) },
		[]string{"-ss", decimal(p.start(i)), "-t", decimal(p.seconds)}, reading(p.container, original),
		[]string{"-map", fmt.Sprintf("0:%d", p.video), "-vf", filter, "-frames:v", fmt.Sprint(p.frames), "-map_metadata", "-1",
			// No B-frames: every frame is shown at the time at which it is stored, so
			// that segments join without an offset.
			"-c:v", "libx264", "-preset", "veryfast", "-profile:v", "main", "-bf", "0", "-crf", "26",
			"-maxrate", fmt.Sprint(videoBits * 3 / 4), "-bufsize", fmt.Sprint(videoBits), "-threads", "2",
			"-fs", fmt.Sprint(most), "-f", "mp4", segmentName(i)})
	switch {
	case err != nil && last.frames == 0 && i > 0 && i == p.count-1 && failed(err):
		return false, nil
	case err != nil:
		return false, err
	case last.frames == 0 && i > 0 && i == p.count-1:
		return false, nil
	case last.frames == 0, i < p.count-1 && last.frames < p.frames:
		return false, &errFailed{"ffmpeg", fmt.Errorf("%d of %d pictures from %s on", last.frames, p.frames, clock(p.start(i))), ""}
	}
	return true, nil
}

// join makes one file of the segments and the recording's sound.
func (t tools) join(ctx context.Context, w *workFolder, p plan, segments []string) error {
	var list strings.Builder
	list.WriteString("ffconcat version 1.0\n")
	for _, name := range segments {
		fmt.Fprintf(&list, "file %s\nduration %s\n", name, decimal(p.seconds))
	}
	if err := os.WriteFile(w.file("segments"), []byte(list.String()), 0o600); err != nil {
		return err
	}
	arguments := [][]string{
		{"-protocol_whitelist", "file,pipe", "-f", "concat", "-safe", "1", "-i", "segments"},
	}
	sound := []string{"-map", "0:v:0", "-c:v", "copy"}
	if p.audio >= 0 {
		arguments = append(arguments, reading(p.container, original))
		sound = slices.Concat(sound, []string{"-map", fmt.Sprintf("1:%d", p.audio), "-c:a", "aac", "-b:a", fmt.Sprint(soundBits), "-ac", "2", "-ar", "48000"})
	}
	length := max(p.duration.Seconds(), p.end)
	most := int64(length*(videoBits+soundBits)/8) + slack
	timeout := between(leastTime, 2*leastTime+time.Duration(length*float64(time.Second)), mostJoinTime)
	arguments = append(arguments, sound, []string{"-map_metadata", "-1", "-movflags", "+faststart", "-fs", fmt.Sprint(most), "-f", "mp4", small})
	last, _, err := t.encode(ctx, w, timeout, most, nil, arguments...)
	if err == nil && last.seconds < p.end*0.98-1 {
		err = &errFailed{"ffmpeg", fmt.Errorf("%s of %s", clock(last.seconds), clock(p.end)), ""}
	}
	return err
}
