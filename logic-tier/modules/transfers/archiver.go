package transfers

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/work"
	mediapb "techtalks.example/proto/techtalks/media/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

const (
	// talksAtOnce is how many talks are written between two checkpoints.
	talksAtOnce = 100
	// directoryAtOnce is how many lines of the directory are held.
	directoryAtOnce = 1000
)

// archiver writes an archive: of each channel its file, then its talks a page at
// a time, and behind each page the recordings of its talks. After every page and
// every recording comes a checkpoint.
type archiver struct {
	module    *Module
	operation *work.Operation
	at        *transferspb.ExportCheckpoint
	out       *sending
	deflate   *flate.Writer

	finished []archived // since the last checkpoint
}

// writeAll writes what is not there yet, and returns the archive's size.
func (w *archiver) writeAll(ctx context.Context) (int64, error) {
	for {
		for len(w.at.Recordings) > 0 {
			if err := w.writeRecording(ctx); err != nil {
				return 0, err
			}
		}
		if int(w.at.Channel) == len(w.at.Channels) {
			return w.writeDirectory(ctx)
		}
		if err := w.writePage(ctx, w.at.Channels[w.at.Channel]); err != nil {
			return 0, err
		}
	}
}

// writePage writes the next page of a channel's talks.
func (w *archiver) writePage(ctx context.Context, channel string) error {
	// What a worker that was stopped wrote of a page may not be what is written
	// now: talks are edited.
	w.out.forward()
	if w.at.PageToken == "" {
		answer, err := ask(ctx, w.module.needs.Channels.GetChannel, &talkspb.GetChannelRequest{Name: channel})
		if err != nil {
			return err
		}
		if err := w.writeFile(ctx)(categoryFile(answer.Channel)); err != nil {
			return err
		}
		if err := w.operation.Step(ctx, fmt.Sprintf("Talks of “%s”: %d.", answer.Channel.Title, answer.Channel.TalkCount)); err != nil {
			return err
		}
	}
	page, err := ask(ctx, w.module.needs.Talks.ListWholeTalks, &talkspb.ListWholeTalksRequest{Parent: channel, PageSize: talksAtOnce, PageToken: w.at.PageToken})
	if err != nil {
		return err
	}
	for _, talk := range page.Talks {
		recording, err := w.recording(ctx, channel, talk)
		if err != nil {
			return err
		}
		if err := w.writeFile(ctx)(talkFile(channel, talk, recording.GetPath())); err != nil {
			return err
		}
		if recording != nil {
			w.at.Recordings = append(w.at.Recordings, recording)
		}
	}
	w.at.TalkCount += int64(len(page.Talks))
	if w.at.PageToken = page.NextPageToken; w.at.PageToken == "" {
		w.at.Channel++
	}
	return w.checkpoint(ctx)
}

// recording returns the recording to be written of a talk; nil for none.
func (w *archiver) recording(ctx context.Context, channel string, talk *talkspb.Talk) (*transferspb.ExportCheckpoint_Recording, error) {
	if talk.Recording == "" {
		return nil, nil
	}
	answer, err := ask(ctx, w.module.needs.Media.GetRecording, &mediapb.GetRecordingRequest{Name: talk.Recording})
	if status.Code(err) == codes.NotFound {
		return nil, nil // withdrawn just now
	}
	if err != nil {
		return nil, err
	}
	for _, r := range answer.Recording.Renditions {
		if lastPart(r.File) == "original" {
			return &transferspb.ExportCheckpoint_Recording{File: r.File, Path: recordingFile(channel, talk, r), Size: r.Size}, nil
		}
	}
	return nil, nil
}

// writeFile writes a small file, packed.
func (w *archiver) writeFile(ctx context.Context) func(name string, content []byte, err error) error {
	return func(name string, content []byte, err error) error {
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		w.deflate.Reset(&packed)
		if _, err := w.deflate.Write(content); err != nil {
			return err
		}
		if err := w.deflate.Close(); err != nil {
			return err
		}
		e := archived{Start: w.out.at, Path: name, CRC32: crc32.ChecksumIEEE(content), CompressedSize: int64(packed.Len()), Size: int64(len(content))}
		if err := w.out.write(ctx, e.local()); err != nil {
			return err
		}
		if err := w.out.write(ctx, packed.Bytes()); err != nil {
			return err
		}
		w.finish(e)
		return nil
	}
}

// writeRecording writes the next recording as it is. Some of it may be there
// already: it is read once more for its checksum, and not sent again.
func (w *archiver) writeRecording(ctx context.Context) error {
	r := w.at.Recordings[0]
	w.at.Recordings = w.at.Recordings[1:]
	e := archived{Start: w.out.at, Path: r.Path, Stored: true, CompressedSize: r.Size, Size: r.Size}
	from, err := w.module.read(ctx, r.File, 0, 0)
	if err != nil {
		return w.withoutRecording(ctx, err)
	}
	defer from.close()
	if err := w.out.write(ctx, e.local()); err != nil {
		return err
	}
	sum := crc32.NewIEEE()
	piece := make([]byte, pieceSize)
	for {
		n, err := from.Read(piece)
		sum.Write(piece[:n])
		if err := w.out.write(ctx, piece[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return w.withoutRecording(ctx, err)
		}
	}
	if from.read != r.Size {
		return fmt.Errorf("%s has %d bytes instead of %d", r.File, from.read, r.Size)
	}
	e.CRC32 = sum.Sum32()
	if err := w.out.write(ctx, e.descriptor()); err != nil {
		return err
	}
	w.finish(e)
	w.at.RecordingCount++
	return w.checkpoint(ctx)
}

// withoutRecording goes on without a recording that is gone: its talk was
// withdrawn meanwhile. What there is of it in the archive, nothing points to.
func (w *archiver) withoutRecording(ctx context.Context, err error) error {
	if status.Code(err) != codes.NotFound {
		return err
	}
	w.out.forward()
	return w.checkpoint(ctx)
}

func (w *archiver) finish(e archived) {
	e.Number = w.at.Entries + int64(len(w.finished))
	w.finished = append(w.finished, e)
}

// checkpoint makes sure that what was written is kept, and says so.
func (w *archiver) checkpoint(ctx context.Context) error {
	if err := w.out.settle(ctx); err != nil {
		return err
	}
	if err := w.module.store.addArchived(ctx, w.operation.Name, w.finished); err != nil {
		return err
	}
	w.at.Entries += int64(len(w.finished))
	w.at.Offset = w.out.at
	w.finished = nil
	// A talk is done with its recording.
	return w.operation.SaveCheckpoint(ctx, w.at.TalkCount-int64(len(w.at.Recordings)), w.at)
}

// writeDirectory writes what readers begin with.
func (w *archiver) writeDirectory(ctx context.Context) (size int64, err error) {
	w.out.forward()
	start := w.out.at
	for from := int64(0); from < w.at.Entries; from += directoryAtOnce {
		lines, err := w.module.store.archived(ctx, w.operation.Name, from, min(from+directoryAtOnce, w.at.Entries))
		if err != nil {
			return 0, err
		}
		for i, e := range lines {
			if e.Number != from+int64(i) {
				return 0, fmt.Errorf("entry %d of the archive is lost", from+int64(i))
			}
			if err := w.out.write(ctx, e.central()); err != nil {
				return 0, err
			}
		}
	}
	if err := w.out.write(ctx, zipTail(w.at.Entries, start, w.out.at)); err != nil {
		return 0, err
	}
	return w.out.at, w.out.settle(ctx)
}
