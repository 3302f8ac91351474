package talks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/postgres"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// importedChannel and importedTalk are rows of a catalogue. They are sent to Postgres as
// JSON: one parameter per batch, however many rows.
type importedChannel struct {
	Slug        string `json:"slug"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

type importedTalk struct {
	Channel     string     `json:"channel"`
	Slug        string     `json:"slug"`
	Title       string     `json:"title"`
	Speakers    []string   `json:"speakers"`
	Language    string     `json:"language"`
	Tags        []string   `json:"tags"`
	MediaURL    string     `json:"media_url"`
	Seconds     int64      `json:"seconds,omitempty"`
	Recorded    string     `json:"recorded,omitempty"`
	Published   *time.Time `json:"published,omitempty"`
	Description string     `json:"description"`
}

// importBatch adds the channels and talks that do not exist yet, without publishing
// messages. It skips talks for a channel with another owner. If a row is invalid, or the
// channels exceed the owner's quota, it adds nothing and returns a failure that names
// every rejected row.
func (m *Module) importBatch(ctx context.Context, r *talkspb.BatchImportTalksRequest) (channels, talks int64, err error) {
	var violations []apperror.Violation
	reject := func(err error, field string) {
		var f *apperror.Failure
		if errors.As(err, &f) {
			for _, v := range f.Violations {
				violations = append(violations, apperror.Violation{Field: field + strings.TrimPrefix(v.Field, "talk"), Description: v.Description})
			}
		}
	}
	newChannels := make([]importedChannel, 0, len(r.Channels))
	for i, c := range r.Channels {
		row, err := importChannel(c)
		if err != nil {
			reject(err, fmt.Sprintf("channels[%d]", i))
		}
		newChannels = append(newChannels, row)
	}
	newTalks := make([]importedTalk, 0, len(r.Talks))
	for i, t := range r.Talks {
		row, err := importTalk(t)
		if err != nil {
			reject(err, fmt.Sprintf("talks[%d]", i))
		}
		newTalks = append(newTalks, row)
	}
	if len(violations) > 0 {
		f := apperror.New(apperror.Invalid, "FIELDS_INVALID", "the batch has invalid rows; nothing was imported")
		f.Violations = violations
		return 0, 0, f
	}
	channelsJSON, err := json.Marshal(newChannels)
	if err != nil {
		return 0, 0, err
	}
	talksJSON, err := json.Marshal(newTalks)
	if err != nil {
		return 0, 0, err
	}
	owner := caller.Person{ID: r.OwnerId, Handle: r.OwnerHandle}
	err = m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		if r.BatchId != "" {
			var found bool
			if channels, talks, found, err = m.store.batch(ctx, tx, r.BatchId); err != nil || found {
				return err
			}
		}
		if owner.ID != 0 {
			if err := m.checkChannelQuota(ctx, tx, owner.ID, newChannels); err != nil {
				return err
			}
		}
		channels, talks, err = m.store.importRows(ctx, tx, owner, channelsJSON, talksJSON)
		if err != nil || r.BatchId == "" {
			return err
		}
		return m.store.addBatch(ctx, tx, r.BatchId, channels, talks)
	})
	return channels, talks, err
}

// checkChannelQuota returns a failure that names the channels of a catalogue that are
// beyond the owner's quota or whose address is retired. Earlier channels of the catalogue
// take precedence.
func (m *Module) checkChannelQuota(ctx context.Context, tx *postgres.Tx, owner int64, catalogue []importedChannel) error {
	slugs := make([]string, len(catalogue))
	for i, c := range catalogue {
		slugs[i] = c.Slug
	}
	count, existing, err := m.store.lockChannelsOf(ctx, tx, owner, slugs)
	if err != nil {
		return err
	}
	f := apperror.New(apperror.Invalid, errTooManyChannels.Reason, errTooManyChannels.Message)
	for i, slug := range slugs {
		retired, err := m.store.isRetired(ctx, tx, slug)
		switch {
		case err != nil:
			return err
		case retired:
			f.Violations = append(f.Violations, apperror.Violation{Field: fmt.Sprintf("channels[%d]", i), Description: errChannelExists.Message})
		case existing[slug]:
		case count < maxChannels:
			count++
			existing[slug] = true
		default:
			f.Violations = append(f.Violations, apperror.Violation{Field: fmt.Sprintf("channels[%d]", i), Description: errTooManyChannels.Message})
		}
	}
	if len(f.Violations) > 0 {
		return f
	}
	return nil
}

// Limits of an imported channel. The contract sets the same ones for CreateChannel, and
// none here.
const (
	maxChannelTitle       = 200
	maxChannelDescription = 2000
)

// importChannel validates a channel of a catalogue.
func importChannel(c *talkspb.Channel) (importedChannel, error) {
	slug, err := parseChannel(".name", c.GetName())
	row := importedChannel{slug, "", strings.TrimSpace(c.GetDescription())}
	if err == nil && strings.TrimSpace(c.GetTitle()) != "" { // without a title, the slug is the title
		row.Title, err = cleanName(".title", c.GetTitle())
	}
	switch {
	case err != nil:
		return row, err
	case utf8.RuneCountInString(row.Title) > maxChannelTitle:
		return row, apperror.InvalidField("FIELDS_INVALID", ".title", "use at most 200 characters, on one line")
	case utf8.RuneCountInString(row.Description) > maxChannelDescription || strings.Contains(row.Description, "\x00"):
		return row, apperror.InvalidField("FIELDS_INVALID", ".description", "use at most 2,000 characters")
	}
	return row, nil
}

// importTalk validates a talk of a catalogue.
func importTalk(message *talkspb.Talk) (importedTalk, error) {
	channel, slug, err := parseTalk("talk.name", message.GetName())
	if err != nil {
		return importedTalk{}, err
	}
	t, err := fromMessage(message).normalize()
	if err != nil {
		return importedTalk{}, err
	}
	row := importedTalk{
		Channel: channel, Slug: slug, Title: t.title, Speakers: t.speakers, Language: t.language, Tags: t.tags,
		MediaURL: t.mediaURL, Seconds: int64(t.duration / time.Second), Recorded: t.recorded, Description: t.description,
	}
	if message.PublishTime != nil {
		published := message.PublishTime.AsTime()
		if message.PublishTime.CheckValid() != nil || !published.Before(farFuture) {
			return row, apperror.InvalidField("FIELDS_INVALID", "talk.publish_time", "use a time before the year 9999")
		}
		row.Published = &published
	}
	return row, nil
}
