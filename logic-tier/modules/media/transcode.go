package media

import (
	"context"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/work"
	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// transcode is the job of one operation: it turns an upload into a recording.
type transcode struct {
	*Module
	*work.Operation
	request *mediapb.ProcessRecordingRequest
	upload  upload
	dir     *workDir
	outputs map[string]output // by name: the stored outputs of this worker and of earlier ones
	leftOut []string
}

// transcodeUpload runs a transcode. It stores outputs one by one; a worker that resumes the
// operation uses those that are stored. It does nothing if the recording is published
// already.
func (m *Module) transcodeUpload(ctx context.Context, o *work.Operation) (proto.Message, error) {
	t := &transcode{Module: m, Operation: o, request: &mediapb.ProcessRecordingRequest{}, outputs: map[string]output{}, leftOut: []string{}}
	if err := o.Input(t.request); err != nil {
		return nil, err
	}
	err := t.run(ctx)
	var failure *apperror.Failure
	switch {
	case work.Cancelled(ctx):
		// The account may still use the upload for something else.
		o.Cleanup(func(ctx context.Context) error { return m.store.deleteOutputs(ctx, o.Name) })
	case errors.As(err, &failure) && errors.Is(failure, errUnusable):
		o.Cleanup(func(ctx context.Context) error { return m.store.deleteUpload(ctx, m.deps.DB, t.upload.id) })
	}
	return nil, err
}

func (t *transcode) run(ctx context.Context) (err error) {
	id, err := parseUpload(t.request.Upload)
	if err != nil {
		return err
	}
	switch r, found, err := t.store.recordingByUpload(ctx, id); {
	case err != nil:
		return err
	case found && r.operation == t.Name:
		return work.ErrHandedOver
	}
	if t.upload, err = t.store.upload(ctx, id); err != nil {
		return err
	}
	if _, err := t.store.renewUpload(ctx, t.deps.DB, id); err != nil {
		return err
	}
	outputs, err := t.store.outputs(ctx, t.Name)
	if err != nil {
		return err
	}
	for _, o := range outputs {
		t.outputs[o.name] = o
	}
	prefix, err := t.readChunk(ctx, t.upload.file.id, 0, sniffLen)
	if err != nil {
		return err
	}
	c, err := sniff(prefix)
	if err != nil {
		return err
	}
	info := mediaInfo{container: c}
	if ff, found := t.findTools(); found {
		if info, err = t.process(ctx, ff, c); err != nil {
			return err
		}
	} else if err := t.skip(ctx, "ffmpeg is not installed on this server: the recording is published as uploaded, unchecked, without a 480p version and without a poster."); err != nil {
		return err
	}
	return t.publish(ctx, info)
}

// process does everything that needs ffmpeg. It fails if the upload is not a usable
// recording. A poster or 480p rendition that cannot be produced is skipped.
func (t *transcode) process(ctx context.Context, ff tools, c container) (info mediaInfo, err error) {
	if t.dir, err = t.scratch.create(); err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, t.dir.remove()) }()
	if err := t.Step(ctx, "Checking the uploaded file."); err != nil {
		return info, err
	}
	if err := t.loadFile(ctx, t.upload.file, fileOriginal); err != nil {
		return info, err
	}
	if info, err = ff.inspect(ctx, t.dir, c); err != nil {
		return info, err
	}
	if info.colours.wide() {
		if info.colours.convert, err = ff.canConvertColours(ctx, t.dir); err != nil {
			return info, err
		}
	}
	t.SetTotal(int64(math.Ceil(info.end)), "seconds")
	sound := "without sound"
	if info.audio >= 0 {
		sound = "with " + info.audioCodec + " sound"
	}
	if err := t.Step(ctx, fmt.Sprintf("Checked: %s of %s, %d × %d, %s.", formatClock(info.duration.Seconds()), info.videoCodec, info.width, info.height, sound)); err != nil {
		return info, err
	}
	if info.colours.wide() && !info.colours.convert {
		if err := t.skip(ctx, "The colours of the poster and of the 480p version may look washed out: the recording is HDR or wide-gamut, and ffmpeg on this server has no zscale or tonemap filter to convert it."); err != nil {
			return info, err
		}
	}
	if err := t.makePoster(ctx, ff, info); err != nil {
		return info, err
	}
	return info, t.make480p(ctx, ff, info)
}

// skip records for the owner that a step was skipped, and why.
func (t *transcode) skip(ctx context.Context, reason string) error {
	t.leftOut = append(t.leftOut, reason)
	return t.Step(ctx, reason)
}

// makePoster produces the poster, unless it is stored already.
func (t *transcode) makePoster(ctx context.Context, ff tools, info mediaInfo) error {
	if _, found := t.outputs[filePoster]; found {
		return nil
	}
	err := ff.extractPoster(ctx, t.dir, info)
	switch {
	case isCommandError(err):
		t.deps.Log.Warn("media: poster skipped", "operation", t.Name, "error", err)
		return t.skip(ctx, "The recording has no poster: no frame could be extracted ("+shortReason(err)+").")
	case err != nil:
		return err
	}
	if err := t.saveOutput(ctx, filePoster, 0, 0); err != nil {
		return err
	}
	return t.Step(ctx, "Poster created.")
}

// make480p produces the 480p rendition, unless it is stored already.
func (t *transcode) make480p(ctx context.Context, ff tools, info mediaInfo) error {
	if _, found := t.outputs[file480p]; found {
		return nil
	}
	err := t.encode480p(ctx, ff, newSegmentPlan(info, t.segmentSeconds))
	if isCommandError(err) {
		t.deps.Log.Warn("media: 480p rendition skipped", "operation", t.Name, "error", err)
		return t.skip(ctx, "The recording has no 480p version: encoding failed ("+shortReason(err)+"). It plays as uploaded.")
	}
	return err
}

// encode480p encodes the segments that are not stored yet and joins all of them.
func (t *transcode) encode480p(ctx context.Context, ff tools, p segmentPlan) error {
	stored := 0
	for ; stored < p.count; stored++ {
		if _, found := t.outputs[segmentName(stored)]; !found {
			break
		}
	}
	step := fmt.Sprintf("Encoding the 480p version in %d segments.", p.count)
	if stored > 0 {
		step = fmt.Sprintf("Resuming the 480p version after %d of %d segments.", stored, p.count)
	}
	if err := t.Step(ctx, step); err != nil {
		return err
	}
	var names []string
	for i := range p.count {
		found, err := t.prepareSegment(ctx, ff, p, i)
		if err != nil {
			return err
		}
		if found {
			names = append(names, segmentName(i))
		}
	}
	if err := t.Step(ctx, "Joining segments and sound."); err != nil {
		return err
	}
	if err := ff.join(ctx, t.dir, p, names); err != nil {
		return err
	}
	probed, err := ff.probe(ctx, t.dir, file480p, mp4)
	if err != nil {
		return err
	}
	info, err := probed.info(mp4)
	if err != nil {
		return &commandError{"ffmpeg", err, ""}
	}
	if err := t.saveOutput(ctx, file480p, info.width, info.height); err != nil {
		return err
	}
	return t.Step(ctx, fmt.Sprintf("480p version created: %d × %d.", info.width, info.height))
}

// prepareSegment puts the i-th segment into the work directory: it loads the stored segment,
// or encodes and stores it. It reports false if the segment has no frames.
func (t *transcode) prepareSegment(ctx context.Context, ff tools, p segmentPlan, i int) (bool, error) {
	name := segmentName(i)
	if o, found := t.outputs[name]; found {
		return true, t.loadFile(ctx, o.file, name)
	}
	found, err := ff.encodeSegment(ctx, t.dir, p, i, func(seconds float64) { t.Advance(ctx, int64(seconds)) })
	if err != nil || !found {
		return false, err
	}
	if err := t.saveOutput(ctx, name, 0, 0); err != nil {
		return false, err
	}
	done := min(p.start(i+1), p.end)
	return true, t.SaveCheckpoint(ctx, int64(done), checkpoint(i+1))
}
