package transfers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

const (
	// A batch is this many talks, or bytes: enough that statements cost
	// little beside rows, few enough to hold.
	batchTalks = 500
	batchBytes = 4 << 20
	// batchTimeout bounds the keeping of one batch.
	batchTimeout = 30 * time.Second
	// maxKnown bounds the channels that are remembered as looked up; over it
	// they are looked up again.
	maxKnown = 10_000
	// maxReason bounds what is said about a file.
	maxReason = 500
)

// catalogue is one import under way. It holds a batch and the events' names,
// whatever the size of the catalogue.
type catalogue struct {
	needs Needs

	progress   *transferspb.ImportCatalogueResponse_Progress
	rejections []*transferspb.ImportCatalogueResponse_Rejection

	refused map[string]string // channels that are not ours to fill, and why
	known   map[string]bool   // channels that were looked up

	channels map[string]string // of the batch: slug to title
	talks    []*talkspb.Talk
	paths    []string // of the talks
	bytes    int
}

func newCatalogue(needs Needs) *catalogue {
	return &catalogue{
		needs: needs, progress: &transferspb.ImportCatalogueResponse_Progress{},
		refused: map[string]string{}, known: map[string]bool{}, channels: map[string]string{},
	}
}

// take adds a file to the batch, or to the rejections.
func (c *catalogue) take(ctx context.Context, file string, content []byte) error {
	c.progress.Files++
	where, ok := locate(file)
	if !ok {
		c.progress.Ignored++
		return nil
	}
	if err := c.lookUp(ctx, where.channel); err != nil {
		return err
	}
	if why := c.refused[where.channel]; why != "" {
		c.reject(file, why)
		return nil
	}
	if where.category {
		title, err := parseCategory(content)
		if err != nil {
			c.reject(file, err.Error())
			return nil
		}
		c.channels[where.channel] = title
		return nil
	}
	talk, err := parseTalk(where, content)
	if err != nil {
		c.reject(file, err.Error())
		return nil
	}
	if _, named := c.channels[where.channel]; !named {
		c.channels[where.channel] = "" // its title comes later, or came before
	}
	c.talks, c.paths = append(c.talks, talk), append(c.paths, file)
	c.bytes += proto.Size(talk)
	return nil
}

func (c *catalogue) full() bool { return len(c.talks) >= batchTalks || c.bytes >= batchBytes }

// lookUp finds out, once a channel, whether the catalogue may fill it.
func (c *catalogue) lookUp(ctx context.Context, channel string) error {
	if c.known[channel] {
		return nil
	}
	ctx, done := context.WithTimeout(ctx, batchTimeout)
	defer done()
	answer, err := c.needs.Channels.GetChannel(ctx, &talkspb.GetChannelRequest{Name: "channels/" + channel})
	if err != nil && status.Code(err) != codes.NotFound {
		return err
	}
	if len(c.known) >= maxKnown {
		clear(c.known)
		clear(c.refused)
	}
	c.known[channel] = true
	if owner := answer.GetChannel().GetOwner(); owner != "" {
		c.refused[channel] = fmt.Sprintf("channel %q belongs to %s: rename the folder", channel, owner)
	}
	return nil
}

// keep hands the batch over. A talk that breaks a rule is rejected by itself:
// the others are handed over again without it.
func (c *catalogue) keep(ctx context.Context) error {
	request := &talkspb.BatchImportTalksRequest{}
	for channel, title := range c.channels {
		request.Channels = append(request.Channels, &talkspb.Channel{Name: "channels/" + channel, Title: title})
	}
	// Two imports at once take the same locks in the same order.
	slices.SortFunc(request.Channels, func(a, b *talkspb.Channel) int { return strings.Compare(a.Name, b.Name) })
	for len(c.talks)+len(request.Channels) > 0 {
		request.Talks = c.talks
		keeping, done := context.WithTimeout(ctx, batchTimeout)
		answer, err := c.needs.Talks.BatchImportTalks(keeping, request)
		done()
		if status.Code(err) == codes.InvalidArgument && c.drop(err) {
			continue
		}
		if err != nil {
			return err
		}
		c.progress.ChannelsCreated += answer.ChannelsCreated
		c.progress.TalksCreated += answer.TalksCreated
		c.progress.TalksPresent += int64(len(c.talks)) - answer.TalksCreated
		break
	}
	clear(c.channels)
	c.talks, c.paths, c.bytes = nil, nil, 0
	return nil
}

// drop rejects the talks that an answer names; false when it names none.
func (c *catalogue) drop(err error) bool {
	why := map[int]string{}
	for _, detail := range status.Convert(err).Details() {
		bad, ok := detail.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		for _, v := range bad.FieldViolations {
			var i int
			if n, _ := fmt.Sscanf(v.Field, "talks[%d]", &i); n == 1 && i >= 0 && i < len(c.talks) && why[i] == "" {
				why[i] = v.Field[len(fmt.Sprintf("talks[%d]", i)):] + ": " + v.Description
			}
		}
	}
	var talks []*talkspb.Talk
	var paths []string
	for i := range c.talks {
		if reason, bad := why[i]; bad {
			c.reject(c.paths[i], strings.TrimPrefix(reason, "."))
		} else {
			talks, paths = append(talks, c.talks[i]), append(paths, c.paths[i])
		}
	}
	c.talks, c.paths = talks, paths
	return len(why) > 0
}

func (c *catalogue) reject(file, why string) {
	c.progress.Rejected++
	c.rejections = append(c.rejections, &transferspb.ImportCatalogueResponse_Rejection{Path: file, Reason: strings.ToValidUTF8(why[:min(len(why), maxReason)], "")})
}

// report returns how far the import is, and forgets the rejections it names.
func (c *catalogue) report() *transferspb.ImportCatalogueResponse {
	r := &transferspb.ImportCatalogueResponse{Progress: proto.CloneOf(c.progress), Rejections: c.rejections}
	c.rejections = nil
	return r
}
