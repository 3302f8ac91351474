package transfers

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/caller"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// maxCachedChannels bounds the channels that an import remembers. When the limit is
// exceeded, they are looked up again.
const maxCachedChannels = 10_000

// batchReader reads an archive's entries into batches. Its memory does not depend on the
// size of the archive: it holds one batch and a bounded cache of channels.
type batchReader struct {
	module  *Module
	owner   caller.Person // zero for the operator
	archive archive
	skip    int64 // entries that an earlier attempt has processed

	channelErrors map[string]string // by slug: why the owner cannot import into the channel, or ""
	batch         *batch
}

// run sends batches to out until the archive ends or reading it fails. In either case it
// sends everything read so far.
func (r *batchReader) run(ctx context.Context, out chan<- *batch) error {
	var number int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		file, err := r.archive.next()
		switch {
		case err != nil:
			if flushErr := r.flush(ctx, number, out); flushErr != nil {
				return flushErr
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case number < r.skip:
			number++
			continue
		}
		number++
		if err := r.addFile(ctx, source{number, file.path}, file); err != nil {
			return err
		}
		if r.batch.entries++; r.batch.full() {
			if err := r.flush(ctx, number, out); err != nil {
				return err
			}
		}
	}
}

// flush sends the batch, which ends after end archive entries, and starts a new one.
func (r *batchReader) flush(ctx context.Context, end int64, out chan<- *batch) error {
	if r.batch.entries == 0 {
		return nil
	}
	r.batch.end = end
	r.batch.done, _, _ = r.archive.progress()
	select {
	case out <- r.batch:
		r.batch = newBatch()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// addFile adds a file to the batch, or to its rejections.
func (r *batchReader) addFile(ctx context.Context, src source, file archiveFile) error {
	if !file.regular {
		return nil
	}
	r.batch.files++
	if reason := pathProblem(file.path); reason != "" {
		r.batch.reject(src, reason)
		return nil
	}
	loc, ok := locate(file.path)
	if !ok {
		r.batch.ignored++
		return nil
	}
	reason, err := r.channelError(ctx, loc.channel)
	if err != nil {
		return err
	}
	var content []byte
	if reason == "" {
		if content, reason, err = r.readContent(file); err != nil {
			return err
		}
	}
	if reason == "" {
		err := r.addContent(loc, src, content)
		if err == nil {
			return nil
		}
		reason = err.Error()
	}
	r.batch.reject(src, reason)
	return nil
}

// readContent reads a file. It returns a reason if the file must be rejected, and an
// error if the whole archive cannot be read.
func (r *batchReader) readContent(file archiveFile) (content []byte, reason string, err error) {
	if file.unreadable != "" {
		return nil, file.unreadable, nil
	}
	src, err := file.open()
	if err == nil {
		content, err = io.ReadAll(io.LimitReader(src, maxFileSize+1))
		_ = src.Close()
	}
	switch fatal := r.archive.fatalError(err); {
	case fatal != nil:
		return nil, "", fatal
	case err != nil:
		return nil, "damaged; pack the archive again", nil
	case len(content) > maxFileSize:
		return nil, "larger than 1 MiB", nil
	}
	return content, "", nil
}

// addContent parses a file and adds its channel or talk to the batch.
func (r *batchReader) addContent(loc location, src source, content []byte) error {
	if loc.category {
		title, description, err := parseCategory(content)
		if err == nil {
			*r.batch.channel(loc.channel) = batchChannel{title, description, &src}
		}
		return err
	}
	talk, err := parseTalk(loc, content)
	if err == nil {
		r.batch.addTalk(importedTalk{src, loc.channel, talk})
	}
	return err
}

// channelError returns why the owner cannot import into a channel, or "" if the owner
// can. It caches the result.
func (r *batchReader) channelError(ctx context.Context, channel string) (reason string, err error) {
	if reason, ok := r.channelErrors[channel]; ok {
		return reason, nil
	}
	response, err := invoke(ctx, r.module.deps.Channels.GetChannel, &talkspb.GetChannelRequest{Name: "channels/" + channel})
	if err != nil && status.Code(err) != codes.NotFound {
		return "", err
	}
	if len(r.channelErrors) >= maxCachedChannels {
		clear(r.channelErrors)
	}
	if err == nil {
		reason = r.ownershipError(response.Channel)
	}
	r.channelErrors[channel] = reason
	return reason, nil
}

// ownershipError returns why the owner cannot import into an existing channel, or "".
func (r *batchReader) ownershipError(c *talkspb.Channel) string {
	owner := ""
	if r.owner.ID != 0 {
		owner = r.owner.Name()
	}
	switch c.Owner {
	case owner:
		return ""
	case "":
		return fmt.Sprintf("%s already exists and is not yours; rename the folder", c.Name)
	}
	return fmt.Sprintf("%s belongs to %s; rename the folder", c.Name, c.Owner)
}
