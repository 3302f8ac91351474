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
	// talksPageSize is the number of talks written between two checkpoints.
	talksPageSize = 100
	// directoryBatch is the number of directory entries held in memory.
	directoryBatch = 1000
)

// archiveWriter writes an archive: for each channel its category file, then its talks
// in pages, each page followed by the recordings of its talks. It saves a checkpoint
// after every page and every recording.
type archiveWriter struct {
	module     *Module
	operation  *work.Operation
	checkpoint *transferspb.ExportCheckpoint
	out        *uploadWriter
	deflate    *flate.Writer

	unsaved []zipEntry // written since the last checkpoint
}

// writeAll writes the archive from the checkpoint on, and returns its size.
func (w *archiveWriter) writeAll(ctx context.Context) (int64, error) {
	for {
		for len(w.checkpoint.Recordings) > 0 {
			if err := w.writeRecording(ctx); err != nil {
				return 0, err
			}
		}
		if int(w.checkpoint.Channel) == len(w.checkpoint.Channels) {
			return w.writeDirectory(ctx)
		}
		if err := w.writePage(ctx, w.checkpoint.Channels[w.checkpoint.Channel]); err != nil {
			return 0, err
		}
	}
}

// writePage writes the next page of a channel's talks.
func (w *archiveWriter) writePage(ctx context.Context, channel string) error {
	// An interrupted worker may have written part of this page with different
	// content, because talks can be edited. Start after it.
	w.out.skipToEnd()
	if w.checkpoint.PageToken == "" {
		response, err := invoke(ctx, w.module.deps.Channels.GetChannel, &talkspb.GetChannelRequest{Name: channel})
		if err != nil {
			return err
		}
		if err := w.writeFile(ctx)(categoryFile(response.Channel)); err != nil {
			return err
		}
		if err := w.operation.Step(ctx, fmt.Sprintf("Exporting “%s”. Talks: %d.", response.Channel.Title, response.Channel.TalkCount)); err != nil {
			return err
		}
	}
	page, err := invoke(ctx, w.module.deps.Talks.ListWholeTalks, &talkspb.ListWholeTalksRequest{Parent: channel, PageSize: talksPageSize, PageToken: w.checkpoint.PageToken})
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
			w.checkpoint.Recordings = append(w.checkpoint.Recordings, recording)
		}
	}
	w.checkpoint.TalkCount += int64(len(page.Talks))
	if w.checkpoint.PageToken = page.NextPageToken; w.checkpoint.PageToken == "" {
		w.checkpoint.Channel++
	}
	return w.saveCheckpoint(ctx)
}

// recording returns the talk's recording to export, or nil if it has none.
func (w *archiveWriter) recording(ctx context.Context, channel string, talk *talkspb.Talk) (*transferspb.ExportCheckpoint_Recording, error) {
	if talk.Recording == "" {
		return nil, nil
	}
	response, err := invoke(ctx, w.module.deps.Media.GetRecording, &mediapb.GetRecordingRequest{Name: talk.Recording})
	if status.Code(err) == codes.NotFound {
		return nil, nil // deleted since the talk was read
	}
	if err != nil {
		return nil, err
	}
	for _, r := range response.Recording.Renditions {
		if lastPart(r.File) == "original" {
			return &transferspb.ExportCheckpoint_Recording{File: r.File, Path: recordingFile(channel, talk, r), Size: r.Size}, nil
		}
	}
	return nil, nil
}

// writeFile returns a function that writes a small file, compressed. Its parameters
// are the results of categoryFile and talkFile.
func (w *archiveWriter) writeFile(ctx context.Context) func(name string, content []byte, err error) error {
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
		e := zipEntry{Start: w.out.offset, Path: name, CRC32: crc32.ChecksumIEEE(content), CompressedSize: int64(packed.Len()), Size: int64(len(content))}
		if err := w.out.write(ctx, e.localHeader()); err != nil {
			return err
		}
		if err := w.out.write(ctx, packed.Bytes()); err != nil {
			return err
		}
		w.addEntry(e)
		return nil
	}
}

// writeRecording writes the next recording uncompressed. The upload may already
// contain part of it: that part is read again for the checksum but not sent again.
func (w *archiveWriter) writeRecording(ctx context.Context) error {
	r := w.checkpoint.Recordings[0]
	w.checkpoint.Recordings = w.checkpoint.Recordings[1:]
	e := zipEntry{Start: w.out.offset, Path: r.Path, Stored: true, CompressedSize: r.Size, Size: r.Size}
	src, err := w.module.openFile(ctx, r.File, 0, 0)
	if err != nil {
		return w.skipRecording(ctx, err)
	}
	defer src.close()
	if err := w.out.write(ctx, e.localHeader()); err != nil {
		return err
	}
	sum := crc32.NewIEEE()
	buffer := make([]byte, blockSize)
	for {
		n, err := src.Read(buffer)
		sum.Write(buffer[:n])
		if err := w.out.write(ctx, buffer[:n]); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return w.skipRecording(ctx, err)
		}
	}
	if src.bytesRead != r.Size {
		return fmt.Errorf("%s has %d bytes, want %d", r.File, src.bytesRead, r.Size)
	}
	e.CRC32 = sum.Sum32()
	if err := w.out.write(ctx, e.dataDescriptor()); err != nil {
		return err
	}
	w.addEntry(e)
	w.checkpoint.RecordingCount++
	return w.saveCheckpoint(ctx)
}

// skipRecording continues without a recording that was deleted meanwhile. The directory
// does not refer to the part already written.
func (w *archiveWriter) skipRecording(ctx context.Context, err error) error {
	if status.Code(err) != codes.NotFound {
		return err
	}
	w.out.skipToEnd()
	return w.saveCheckpoint(ctx)
}

func (w *archiveWriter) addEntry(e zipEntry) {
	e.Number = w.checkpoint.Entries + int64(len(w.unsaved))
	w.unsaved = append(w.unsaved, e)
}

// saveCheckpoint flushes the upload, stores the new entries and saves the checkpoint.
func (w *archiveWriter) saveCheckpoint(ctx context.Context) error {
	if err := w.out.flush(ctx); err != nil {
		return err
	}
	if err := w.module.store.putEntries(ctx, w.operation.Name, w.unsaved); err != nil {
		return err
	}
	w.checkpoint.Entries += int64(len(w.unsaved))
	w.checkpoint.Offset = w.out.offset
	w.unsaved = nil
	// A talk counts as done once its recording is written.
	return w.operation.SaveCheckpoint(ctx, w.checkpoint.TalkCount-int64(len(w.checkpoint.Recordings)), w.checkpoint)
}

// writeDirectory writes the central directory and returns the archive's size.
func (w *archiveWriter) writeDirectory(ctx context.Context) (size int64, err error) {
	w.out.skipToEnd()
	start := w.out.offset
	for first := int64(0); first < w.checkpoint.Entries; first += directoryBatch {
		entries, err := w.module.store.entries(ctx, w.operation.Name, first, min(first+directoryBatch, w.checkpoint.Entries))
		if err != nil {
			return 0, err
		}
		for i, e := range entries {
			if e.Number != first+int64(i) {
				return 0, fmt.Errorf("entry %d of the archive is missing", first+int64(i))
			}
			if err := w.out.write(ctx, e.centralHeader()); err != nil {
				return 0, err
			}
		}
	}
	if err := w.out.write(ctx, zipEndRecords(w.checkpoint.Entries, start, w.out.offset)); err != nil {
		return 0, err
	}
	return w.out.offset, w.out.flush(ctx)
}
