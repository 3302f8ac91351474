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

// making is a recording that is being made, by one operation.
type making struct {
	*Module
	*work.Operation
	request *mediapb.ProcessRecordingRequest
	upload  upload
	folder  *workFolder
	kept    map[string]part // what is made and kept, here or by a worker before
	leftOut []string
}

// makeRecording makes a recording of an upload. What is made is kept part by
// part; whoever begins anew finds what is there. Done already, it changes
// nothing.
func (m *Module) makeRecording(ctx context.Context, o *work.Operation) (proto.Message, error) {
	k := &making{Module: m, Operation: o, request: &mediapb.ProcessRecordingRequest{}, kept: map[string]part{}, leftOut: []string{}}
	if err := o.Input(k.request); err != nil {
		return nil, err
	}
	err := k.make(ctx)
	var refused *apperror.Failure
	switch {
	case work.Cancelled(ctx):
		// The upload stays: its account may want something else of it.
		o.Cleanup(func(ctx context.Context) error { return m.store.dropParts(ctx, o.Name) })
	case errors.As(err, &refused) && errors.Is(refused, errUnusable):
		o.Cleanup(func(ctx context.Context) error { return m.store.removeUpload(ctx, m.needs.DB, k.upload.id) })
	}
	return nil, err
}

func (k *making) make(ctx context.Context) (err error) {
	id, err := parseUpload(k.request.Upload)
	if err != nil {
		return err
	}
	switch made, found, err := k.store.recordingOf(ctx, id); {
	case err != nil:
		return err
	case found && made.operation == k.Name:
		return work.ErrHandedOver
	}
	if k.upload, err = k.store.upload(ctx, id); err != nil {
		return err
	}
	if _, err := k.store.touchUpload(ctx, k.needs.DB, id); err != nil {
		return err
	}
	parts, err := k.store.parts(ctx, k.Name)
	if err != nil {
		return err
	}
	for _, p := range parts {
		k.kept[p.name] = p
	}
	first, err := k.piece(ctx, k.upload.file.id, 0, sniffed)
	if err != nil {
		return err
	}
	c, err := sniff(first)
	if err != nil {
		return err
	}
	f := facts{container: c}
	if t, found := k.findTools(); found {
		if f, err = k.process(ctx, t, c); err != nil {
			return err
		}
	} else if err := k.leave(ctx, "ffmpeg is not installed here: the recording is published as it was uploaded, unchecked, without a 480p version and without a picture."); err != nil {
		return err
	}
	return k.publish(ctx, f)
}

// process does what ffmpeg is needed for. Only a file that is no recording stops
// it; what does not succeed is left out.
func (k *making) process(ctx context.Context, t tools, c container) (f facts, err error) {
	if k.folder, err = k.scratch.open(); err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, k.folder.close()) }()
	if err := k.Step(ctx, "Checking what was uploaded."); err != nil {
		return f, err
	}
	if err := k.fetch(ctx, k.upload.file, original); err != nil {
		return f, err
	}
	if f, err = t.examine(ctx, k.folder, c); err != nil {
		return f, err
	}
	if f.colours.wide() {
		if f.colours.mapped, err = t.canMapColours(ctx, k.folder); err != nil {
			return f, err
		}
	}
	k.Expect(int64(math.Ceil(f.end)), "seconds")
	sound := "without sound"
	if f.audio >= 0 {
		sound = "with " + f.sound + " sound"
	}
	if err := k.Step(ctx, fmt.Sprintf("Checked: %s of %s, %d × %d, %s.", clock(f.duration.Seconds()), f.codec, f.width, f.height, sound)); err != nil {
		return f, err
	}
	if f.colours.wide() && !f.colours.mapped {
		if err := k.leave(ctx, "The colours of the poster and of the 480p version may look washed out: the recording is HDR or wide-gamut, and ffmpeg has no zscale or tonemap filter here to convert it."); err != nil {
			return f, err
		}
	}
	if err := k.makePoster(ctx, t, f); err != nil {
		return f, err
	}
	return f, k.makeSmall(ctx, t, f)
}

// leave says that a step is left out, and why.
func (k *making) leave(ctx context.Context, why string) error {
	k.leftOut = append(k.leftOut, why)
	return k.Step(ctx, why)
}

func (k *making) makePoster(ctx context.Context, t tools, f facts) error {
	if _, made := k.kept[poster]; made {
		return nil
	}
	err := t.picture(ctx, k.folder, f)
	switch {
	case failed(err):
		k.needs.Log.Warn("media: no poster", "operation", k.Name, "error", err)
		return k.leave(ctx, "There is no picture of it: none could be taken ("+shortly(err)+").")
	case err != nil:
		return err
	}
	if err := k.keep(ctx, poster, 0, 0); err != nil {
		return err
	}
	return k.Step(ctx, "Picture taken.")
}

// makeSmall makes the 480p rendition.
func (k *making) makeSmall(ctx context.Context, t tools, f facts) error {
	if _, made := k.kept[small]; made {
		return nil
	}
	err := k.makeSegments(ctx, t, newPlan(f, k.segment))
	if failed(err) {
		k.needs.Log.Warn("media: no 480p rendition", "operation", k.Name, "error", err)
		return k.leave(ctx, "There is no 480p version: it could not be made ("+shortly(err)+"). The recording plays as it was uploaded.")
	}
	return err
}

func (k *making) makeSegments(ctx context.Context, t tools, p plan) error {
	begun := 0
	for ; begun < p.count; begun++ {
		if _, made := k.kept[segmentName(begun)]; !made {
			break
		}
	}
	said := fmt.Sprintf("Making the 480p version, in %d pieces.", p.count)
	if begun > 0 {
		said = fmt.Sprintf("Going on with the 480p version after %d of %d pieces.", begun, p.count)
	}
	if err := k.Step(ctx, said); err != nil {
		return err
	}
	var names []string
	for i := range p.count {
		there, err := k.makeSegment(ctx, t, p, i)
		if err != nil {
			return err
		}
		if there {
			names = append(names, segmentName(i))
		}
	}
	if err := k.Step(ctx, "Joining pieces and sound."); err != nil {
		return err
	}
	if err := t.join(ctx, k.folder, p, names); err != nil {
		return err
	}
	made, err := t.probe(ctx, k.folder, small, mp4)
	if err != nil {
		return err
	}
	seen, err := made.facts(mp4)
	if err != nil {
		return &errFailed{"ffmpeg", err, ""}
	}
	if err := k.keep(ctx, small, seen.width, seen.height); err != nil {
		return err
	}
	return k.Step(ctx, fmt.Sprintf("480p version made: %d × %d.", seen.width, seen.height))
}

// makeSegment makes the i-th segment, or fetches it when it was made before;
// false when there is nothing in it.
func (k *making) makeSegment(ctx context.Context, t tools, p plan, i int) (bool, error) {
	name := segmentName(i)
	if made, found := k.kept[name]; found {
		return true, k.fetch(ctx, made.file, name)
	}
	there, err := t.encodeSegment(ctx, k.folder, p, i, func(seconds float64) { k.Advance(ctx, int64(seconds)) })
	if err != nil || !there {
		return false, err
	}
	if err := k.keep(ctx, name, 0, 0); err != nil {
		return false, err
	}
	done := min(p.start(i+1), p.end)
	return true, k.Save(ctx, int64(done), checkpoint(i+1))
}
