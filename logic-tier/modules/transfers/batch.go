package transfers

import (
	"google.golang.org/protobuf/proto"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// A batch is full when it reaches any of these limits. They are large enough to make
// the cost per statement negligible, and small enough to hold a batch in memory.
const (
	batchTalks      = 500
	batchChannels   = 500
	batchRejections = 1000
	batchEntries    = 5000
	batchBytes      = 4 << 20
)

// batch is a run of consecutive archive entries.
type batch struct {
	// end is the number of archive entries up to the end of the batch.
	end int64
	// done is the archive's progress at the end of the batch.
	done int64

	entries        int
	files, ignored int64
	channels       map[string]*batchChannel // by slug
	talks          []importedTalk
	rejections     []rejection
	bytes          int
}

// source is the archive entry that a talk or channel was read from.
type source struct {
	number int64
	path   string
}

// batchChannel is a channel that the batch describes or has talks of.
type batchChannel struct {
	title, description string  // empty unless the batch has the channel's category file
	category           *source // that file
}

// importedTalk is a talk of the batch.
type importedTalk struct {
	source
	channel string // slug
	talk    *talkspb.Talk
}

func newBatch() *batch { return &batch{channels: map[string]*batchChannel{}} }

func (b *batch) full() bool {
	return len(b.talks) >= batchTalks || len(b.channels) >= batchChannels || len(b.rejections) >= batchRejections ||
		b.entries >= batchEntries || b.bytes >= batchBytes
}

// channel returns a channel of the batch, adding it if necessary.
func (b *batch) channel(slug string) *batchChannel {
	c := b.channels[slug]
	if c == nil {
		c = &batchChannel{}
		b.channels[slug] = c
	}
	return c
}

func (b *batch) addTalk(t importedTalk) {
	b.channel(t.channel)
	b.talks = append(b.talks, t)
	b.bytes += proto.Size(t.talk)
}

// maxReason bounds the stored reason of a rejection, in bytes.
const maxReason = 500

func (b *batch) reject(s source, reason string) {
	b.rejections = append(b.rejections, rejection{Number: s.number, Path: printable(s.path, maxPath), Reason: printable(reason, maxReason)})
}

// rejectChannel rejects the channel and its talks.
func (b *batch) rejectChannel(slug, reason string) {
	c := b.channels[slug]
	if c == nil {
		return
	}
	delete(b.channels, slug)
	if c.category != nil {
		b.reject(*c.category, reason)
	}
	b.rejectTalks(func(_ int, t importedTalk) string {
		if t.channel == slug {
			return reason
		}
		return ""
	})
}

// rejectTalks rejects the talks for which check returns a reason.
func (b *batch) rejectTalks(check func(i int, t importedTalk) string) {
	kept := b.talks[:0]
	for i, t := range b.talks {
		if reason := check(i, t); reason != "" {
			b.reject(t.source, reason)
		} else {
			kept = append(kept, t)
		}
	}
	b.talks = kept
}
