package transfers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"techtalks.example/logic-tier/platform/caller"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// batchTimeout bounds one BatchImportTalks call.
const batchTimeout = 30 * time.Second

// batchImporter imports batches into the talks module and counts the results.
type batchImporter struct {
	module *Module
	owner  caller.Person
	counts *transferspb.ImportCatalogueResponse
	// operation is the prefix of batch IDs.
	operation string
	// rejectedChannels maps the slugs of rejected channels to the reasons.
	rejectedChannels map[string]string

	channelsCreated, talksCreated int64 // by the current batch
}

// submit imports a batch. If the talks module rejects individual channels or talks, it
// submits the rest again.
func (im *batchImporter) submit(ctx context.Context, b *batch) error {
	im.channelsCreated, im.talksCreated = 0, 0
	for slug, reason := range im.rejectedChannels {
		b.rejectChannel(slug, reason)
	}
	for len(b.talks)+len(b.channels) > 0 {
		// Sorted, so that concurrent imports take locks in the same order.
		slugs := slices.Sorted(maps.Keys(b.channels))
		request := &talkspb.BatchImportTalksRequest{
			OwnerId: im.owner.ID, OwnerHandle: im.owner.Handle,
			// The ID makes a retried batch return the same counts.
			BatchId: fmt.Sprintf("%s/%d-%d", im.operation, b.end-int64(b.entries), b.end),
		}
		for _, slug := range slugs {
			c := b.channels[slug]
			request.Channels = append(request.Channels, &talkspb.Channel{Name: "channels/" + slug, Title: c.title, Description: c.description})
		}
		for _, t := range b.talks {
			request.Talks = append(request.Talks, t.talk)
		}
		callCtx, cancel := context.WithTimeout(ctx, batchTimeout)
		response, err := im.module.deps.Talks.BatchImportTalks(callCtx, request)
		cancel()
		if status.Code(err) == codes.InvalidArgument && im.rejectInvalid(b, slugs, err) {
			continue
		}
		if err != nil {
			return err
		}
		im.channelsCreated, im.talksCreated = response.ChannelsCreated, response.TalksCreated
		return nil
	}
	return nil
}

// rejectInvalid rejects the channels and talks that err names. It reports whether there
// are any.
func (im *batchImporter) rejectInvalid(b *batch, slugs []string, err error) bool {
	channels, talks := violations(err, "channels", len(slugs)), violations(err, "talks", len(b.talks))
	b.rejectTalks(func(i int, _ importedTalk) string { return talks[i] })
	for i, reason := range channels {
		if len(im.rejectedChannels) < maxCachedChannels {
			im.rejectedChannels[slugs[i]] = reason
		}
		b.rejectChannel(slugs[i], reason)
	}
	return len(channels)+len(talks) > 0
}

// violations returns the first field violation of each element of a repeated field, by
// index.
func violations(err error, list string, length int) map[int]string {
	reasons := map[int]string{}
	for _, detail := range status.Convert(err).Details() {
		badRequest, ok := detail.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		for _, v := range badRequest.FieldViolations {
			var i int
			if n, _ := fmt.Sscanf(v.Field, list+"[%d]", &i); n != 1 || i < 0 || i >= length || reasons[i] != "" {
				continue
			}
			field := strings.TrimPrefix(v.Field, fmt.Sprintf("%s[%d]", list, i))
			reasons[i] = strings.TrimPrefix(strings.TrimPrefix(field, ".")+": "+v.Description, ": ")
		}
	}
	return reasons
}

// count adds an imported batch to the counts.
func (im *batchImporter) count(b *batch) {
	im.counts.Files += b.files
	im.counts.Ignored += b.ignored
	im.counts.Rejected += int64(len(b.rejections))
	im.counts.ChannelsCreated += im.channelsCreated
	im.counts.TalksCreated += im.talksCreated
	im.counts.TalksPresent += int64(len(b.talks)) - im.talksCreated
}
