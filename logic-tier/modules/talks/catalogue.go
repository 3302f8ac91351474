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

// importedChannel and importedTalk are rows of a catalogue, as JSON: one
// parameter a batch, however many rows.
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

// importBatch adds what is not there yet; nobody is told. Talks for a channel
// that belongs to somebody else are not added. Channels beyond those that an
// account may have are refused by name, and nothing of the batch is kept.
func (m *Module) importBatch(ctx context.Context, r *talkspb.BatchImportTalksRequest) (channels, talks int64, err error) {
	var refused []apperror.Violation
	refuse := func(err error, field string) {
		var f *apperror.Failure
		if errors.As(err, &f) {
			for _, v := range f.Violations {
				refused = append(refused, apperror.Violation{Field: field + strings.TrimPrefix(v.Field, "talk"), Description: v.Description})
			}
		}
	}
	newChannels := make([]importedChannel, 0, len(r.Channels))
	for i, c := range r.Channels {
		row, err := importChannel(c)
		if err != nil {
			refuse(err, fmt.Sprintf("channels[%d]", i))
		}
		newChannels = append(newChannels, row)
	}
	newTalks := make([]importedTalk, 0, len(r.Talks))
	for i, t := range r.Talks {
		row, err := importTalk(t)
		if err != nil {
			refuse(err, fmt.Sprintf("talks[%d]", i))
		}
		newTalks = append(newTalks, row)
	}
	if len(refused) > 0 {
		f := apperror.New(apperror.Invalid, "FIELDS_INVALID", "some of the batch cannot be taken; nothing of it was")
		f.Violations = refused
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
	err = m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		if r.BatchId != "" {
			var again bool
			if channels, talks, again, err = m.store.batch(ctx, tx, r.BatchId); err != nil || again {
				return err
			}
		}
		if owner.ID != 0 {
			if err := m.boundChannels(ctx, tx, owner.ID, newChannels); err != nil {
				return err
			}
		}
		channels, talks, err = m.store.importRows(ctx, tx, owner, channelsJSON, talksJSON)
		if err != nil || r.BatchId == "" {
			return err
		}
		return m.store.noteBatch(ctx, tx, r.BatchId, channels, talks)
	})
	return channels, talks, err
}

// boundChannels refuses those channels of a catalogue that would be one too many
// for the account; the earlier ones have their place.
func (m *Module) boundChannels(ctx context.Context, tx *postgres.Tx, owner int64, catalogue []importedChannel) error {
	slugs := make([]string, len(catalogue))
	for i, c := range catalogue {
		slugs[i] = c.Slug
	}
	has, there, err := m.store.lockChannelsOf(ctx, tx, owner, slugs)
	if err != nil {
		return err
	}
	f := apperror.New(apperror.Invalid, errManyChannels.Reason, errManyChannels.Message)
	for i, slug := range slugs {
		retired, err := m.store.isRetired(ctx, tx, slug)
		switch {
		case err != nil:
			return err
		case retired:
			f.Violations = append(f.Violations, apperror.Violation{Field: fmt.Sprintf("channels[%d]", i), Description: errChannelExists.Message})
		case there[slug]:
		case has < maxChannels:
			has++
			there[slug] = true
		default:
			f.Violations = append(f.Violations, apperror.Violation{Field: fmt.Sprintf("channels[%d]", i), Description: errManyChannels.Message})
		}
	}
	if len(f.Violations) > 0 {
		return f
	}
	return nil
}

// Bounds of an imported channel, which the contract leaves to us: those of a
// channel that a person makes.
const (
	longestTitle       = 200
	longestDescription = 2000
)

// importChannel reads a channel of a catalogue.
func importChannel(c *talkspb.Channel) (importedChannel, error) {
	slug, err := parseChannel(".name", c.GetName())
	row := importedChannel{slug, "", strings.TrimSpace(c.GetDescription())}
	if err == nil && strings.TrimSpace(c.GetTitle()) != "" { // without one, the name stands for it
		row.Title, err = cleanName(".title", c.GetTitle())
	}
	switch {
	case err != nil:
		return row, err
	case utf8.RuneCountInString(row.Title) > longestTitle:
		return row, apperror.InvalidField("FIELDS_INVALID", ".title", "use at most 200 characters, on one line")
	case utf8.RuneCountInString(row.Description) > longestDescription || strings.Contains(row.Description, "\x00"):
		return row, apperror.InvalidField("FIELDS_INVALID", ".description", "use at most 2,000 characters")
	}
	return row, nil
}

// importTalk reads a talk of a catalogue.
func importTalk(t *talkspb.Talk) (importedTalk, error) {
	channel, slug, err := parseTalk("talk.name", t.GetName())
	if err != nil {
		return importedTalk{}, err
	}
	is, err := fromMessage(t).normal()
	if err != nil {
		return importedTalk{}, err
	}
	row := importedTalk{
		Channel: channel, Slug: slug, Title: is.title, Speakers: is.speakers, Language: is.language, Tags: is.tags,
		MediaURL: is.mediaURL, Seconds: int64(is.duration / time.Second), Recorded: is.recorded, Description: is.description,
	}
	if t.PublishTime != nil {
		at := t.PublishTime.AsTime()
		if t.PublishTime.CheckValid() != nil || !at.Before(farFuture) {
			return row, apperror.InvalidField("FIELDS_INVALID", "talk.publish_time", "use a time before the year 9999")
		}
		row.Published = &at
	}
	return row, nil
}
