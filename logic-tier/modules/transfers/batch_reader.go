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

// maxKnown bounds the channels that are remembered as looked up; over it they are
// looked up again.
const maxKnown = 10_000

// filler makes batches of an archive's entries. It holds one, and whose the
// channels are, whatever the size of the archive.
type filler struct {
	module  *Module
	owner   caller.Person // the zero Person: nobody
	archive archive
	skip    int64 // entries that are dealt with already

	known map[string]string // channels that were looked up, and why they are not ours to fill
	batch *batch
}

// fill hands batches over until the archive ends or cannot be read on; what was
// read before is handed over too.
func (f *filler) fill(ctx context.Context, use chan<- *batch) error {
	var number int64
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		packed, err := f.archive.next()
		switch {
		case err != nil:
			if handed := f.hand(ctx, number, use); handed != nil {
				return handed
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case number < f.skip:
			number++
			continue
		}
		number++
		if err := f.take(ctx, source{number, packed.path}, packed); err != nil {
			return err
		}
		if f.batch.entries++; f.batch.full() {
			if err := f.hand(ctx, number, use); err != nil {
				return err
			}
		}
	}
}

func (f *filler) hand(ctx context.Context, through int64, use chan<- *batch) error {
	if f.batch.entries == 0 {
		return nil
	}
	f.batch.through = through
	f.batch.done, _, _ = f.archive.progress()
	select {
	case use <- f.batch:
		f.batch = newBatch()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take adds an entry to the batch, or to its rejections.
func (f *filler) take(ctx context.Context, from source, packed packedFile) error {
	if !packed.regular {
		return nil
	}
	f.batch.files++
	if why := wrongWith(packed.path); why != "" {
		f.batch.reject(from, why)
		return nil
	}
	where, ok := locate(packed.path)
	if !ok {
		f.batch.ignored++
		return nil
	}
	why, err := f.lookUp(ctx, where.channel)
	if err != nil {
		return err
	}
	var content []byte
	if why == "" {
		if content, why, err = f.content(packed); err != nil {
			return err
		}
	}
	if why == "" {
		err := f.parse(where, from, content)
		if err == nil {
			return nil
		}
		why = err.Error()
	}
	f.batch.reject(from, why)
	return nil
}

// content reads a file, or says why it cannot be taken.
func (f *filler) content(packed packedFile) (content []byte, why string, err error) {
	if packed.refused != "" {
		return nil, packed.refused, nil
	}
	from, err := packed.content()
	if err == nil {
		content, err = io.ReadAll(io.LimitReader(from, maxFile+1))
		_ = from.Close()
	}
	switch ofArchive := f.archive.blame(err); {
	case ofArchive != nil:
		return nil, "", ofArchive
	case err != nil:
		return nil, "it is damaged: pack it anew", nil
	case len(content) > maxFile:
		return nil, "larger than 1 MiB", nil
	}
	return content, "", nil
}

// parse adds what a file says to the batch.
func (f *filler) parse(where place, from source, content []byte) error {
	if where.category {
		title, description, err := parseCategory(content)
		if err == nil {
			*f.batch.channel(where.channel) = namedChannel{title, description, &from}
		}
		return err
	}
	talk, err := parseTalk(where, content)
	if err == nil {
		f.batch.add(brought{from, where.channel, talk})
	}
	return err
}

// lookUp finds out, once a channel, why the catalogue may not fill it.
func (f *filler) lookUp(ctx context.Context, channel string) (why string, err error) {
	if why, known := f.known[channel]; known {
		return why, nil
	}
	answer, err := ask(ctx, f.module.needs.Channels.GetChannel, &talkspb.GetChannelRequest{Name: "channels/" + channel})
	if err != nil && status.Code(err) != codes.NotFound {
		return "", err
	}
	if len(f.known) >= maxKnown {
		clear(f.known)
	}
	if err == nil {
		why = f.refuses(answer.Channel)
	}
	f.known[channel] = why
	return why, nil
}

// refuses says why a channel that is there is not to be filled.
func (f *filler) refuses(c *talkspb.Channel) string {
	mine := ""
	if f.owner.ID != 0 {
		mine = f.owner.Name()
	}
	switch c.Owner {
	case mine:
		return ""
	case "":
		return fmt.Sprintf("%s is there already and is not yours: rename the folder", c.Name)
	}
	return fmt.Sprintf("%s belongs to %s: rename the folder", c.Name, c.Owner)
}
