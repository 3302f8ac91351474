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

// batchTimeout bounds the keeping of one batch.
const batchTimeout = 30 * time.Second

// keeper hands batches over to the talks module, and counts.
type keeper struct {
	module *Module
	owner  caller.Person
	counts *transferspb.ImportCatalogueResponse
	// name begins the names of batches.
	name string
	// beyond are channels that were refused, and why.
	beyond map[string]string

	channels, talks int64 // added by the batch
}

// keep hands a batch over. A channel or a talk that breaks a rule is rejected by
// itself: the others are handed over again without it.
func (k *keeper) keep(ctx context.Context, b *batch) error {
	k.channels, k.talks = 0, 0
	for slug, why := range k.beyond {
		b.dropChannel(slug, why)
	}
	for len(b.talks)+len(b.channels) > 0 {
		// Two imports at once take the same locks in the same order.
		slugs := slices.Sorted(maps.Keys(b.channels))
		request := &talkspb.BatchImportTalksRequest{
			OwnerId: k.owner.ID, OwnerHandle: k.owner.Handle,
			// Handed over again after it was stopped, it is counted as it was.
			BatchId: fmt.Sprintf("%s/%d-%d", k.name, b.through-int64(b.entries), b.through),
		}
		for _, slug := range slugs {
			c := b.channels[slug]
			request.Channels = append(request.Channels, &talkspb.Channel{Name: "channels/" + slug, Title: c.title, Description: c.description})
		}
		for _, t := range b.talks {
			request.Talks = append(request.Talks, t.talk)
		}
		keeping, done := context.WithTimeout(ctx, batchTimeout)
		answer, err := k.module.needs.Talks.BatchImportTalks(keeping, request)
		done()
		if status.Code(err) == codes.InvalidArgument && k.drop(b, slugs, err) {
			continue
		}
		if err != nil {
			return err
		}
		k.channels, k.talks = answer.ChannelsCreated, answer.TalksCreated
		return nil
	}
	return nil
}

// drop rejects the channels and talks that an answer names; false when it names
// none.
func (k *keeper) drop(b *batch, slugs []string, err error) bool {
	channels, talks := violations(err, "channels", len(slugs)), violations(err, "talks", len(b.talks))
	b.dropTalks(func(i int, _ brought) string { return talks[i] })
	for i, why := range channels {
		if len(k.beyond) < maxKnown {
			k.beyond[slugs[i]] = why
		}
		b.dropChannel(slugs[i], why)
	}
	return len(channels)+len(talks) > 0
}

// violations returns what an answer says of a list's members, by their place.
func violations(err error, list string, length int) map[int]string {
	why := map[int]string{}
	for _, detail := range status.Convert(err).Details() {
		bad, ok := detail.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		for _, v := range bad.FieldViolations {
			var i int
			if n, _ := fmt.Sscanf(v.Field, list+"[%d]", &i); n != 1 || i < 0 || i >= length || why[i] != "" {
				continue
			}
			field := strings.TrimPrefix(v.Field, fmt.Sprintf("%s[%d]", list, i))
			why[i] = strings.TrimPrefix(strings.TrimPrefix(field, ".")+": "+v.Description, ": ")
		}
	}
	return why
}

// count counts a batch that is kept.
func (k *keeper) count(b *batch) {
	k.counts.Files += b.files
	k.counts.Ignored += b.ignored
	k.counts.Rejected += int64(len(b.rejections))
	k.counts.ChannelsCreated += k.channels
	k.counts.TalksCreated += k.talks
	k.counts.TalksPresent += int64(len(b.talks)) - k.talks
}
