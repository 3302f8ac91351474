package transfers

import (
	"google.golang.org/protobuf/proto"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// A batch is kept when it has this many talks, channels, rejections or entries, or
// bytes: enough that statements cost little beside rows, few enough to hold.
const (
	batchTalks      = 500
	batchChannels   = 500
	batchRejections = 1000
	batchEntries    = 5000
	batchBytes      = 4 << 20
)

// batch is some entries of an archive, one after the other.
type batch struct {
	// through is how many entries of the archive it and those before it are.
	through int64
	// done is how much of the archive is read.
	done int64

	entries        int
	files, ignored int64
	channels       map[string]*namedChannel // by slug
	talks          []brought
	rejections     []rejection
	bytes          int
}

// source is the file that something came from.
type source struct {
	number int64
	path   string
}

// namedChannel is a channel that files of the batch belong to, or name.
type namedChannel struct {
	title, description string  // empty: a file outside the batch names it, or none
	named              *source // the file that does
}

// brought is a talk of the batch.
type brought struct {
	source
	channel string // a slug
	talk    *talkspb.Talk
}

func newBatch() *batch { return &batch{channels: map[string]*namedChannel{}} }

func (b *batch) full() bool {
	return len(b.talks) >= batchTalks || len(b.channels) >= batchChannels || len(b.rejections) >= batchRejections ||
		b.entries >= batchEntries || b.bytes >= batchBytes
}

func (b *batch) channel(slug string) *namedChannel {
	c := b.channels[slug]
	if c == nil {
		c = &namedChannel{}
		b.channels[slug] = c
	}
	return c
}

func (b *batch) add(t brought) {
	b.channel(t.channel)
	b.talks = append(b.talks, t)
	b.bytes += proto.Size(t.talk)
}

// maxReason bounds what is said about a file.
const maxReason = 500

func (b *batch) reject(s source, why string) {
	b.rejections = append(b.rejections, rejection{Number: s.number, Path: printable(s.path, maxPath), Reason: printable(why, maxReason)})
}

// dropChannel rejects all that the batch has of a channel.
func (b *batch) dropChannel(slug, why string) {
	c := b.channels[slug]
	if c == nil {
		return
	}
	delete(b.channels, slug)
	if c.named != nil {
		b.reject(*c.named, why)
	}
	b.dropTalks(func(_ int, t brought) string {
		if t.channel == slug {
			return why
		}
		return ""
	})
}

// dropTalks rejects the talks that there is a reason to.
func (b *batch) dropTalks(reason func(i int, t brought) string) {
	kept := b.talks[:0]
	for i, t := range b.talks {
		if why := reason(i, t); why != "" {
			b.reject(t.source, why)
		} else {
			kept = append(kept, t)
		}
	}
	b.talks = kept
}
