package talks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"techtalks.example/logic-tier/platform/apperror"
	"techtalks.example/logic-tier/platform/caller"
	"techtalks.example/logic-tier/platform/names"
	"techtalks.example/logic-tier/platform/postgres"
	"techtalks.example/logic-tier/platform/queue"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// talk is a recorded talk.
type talk struct {
	id                 int64
	slug, title        string
	speakers, tags     []string
	language, mediaURL string
	description        string
	recording          string        // kept here; empty: elsewhere, or none
	number             int64         // of what the channel published; 0: imported, or older than numbers
	duration           time.Duration // 0: unknown
	recorded           string        // a day; empty: unknown
	published, updated time.Time
	withdrawn          bool
	channel            channel
}

func (t talk) name() string { return "channels/" + t.channel.slug + "/talks/" + t.slug }

// longest bounds how long a talk may be: days, not years, and whole seconds fit
// the column many times over.
const longest = 7 * 24 * time.Hour

// dayAhead is how far ahead of UTC a recorded day can begin: where it is tomorrow
// already, people record talks tomorrow.
const dayAhead = 24 * time.Hour

// normal returns t as it is kept: names in their clean form, tags in lower case,
// speakers and tags once each. A talk needs a title.
func (t talk) normal() (_ talk, err error) {
	t.description = strings.TrimSpace(t.description)
	if t.title, err = cleanName("talk.title", t.title); err != nil {
		return t, err
	}
	if t.speakers, err = cleanNames("talk.speakers", t.speakers); err != nil {
		return t, err
	}
	lower := make([]string, len(t.tags))
	for i, tag := range t.tags {
		lower[i] = strings.ToLower(tag)
	}
	if t.tags, err = cleanNames("talk.tags", lower); err != nil {
		return t, err
	}
	if t.recorded != "" {
		day, err := time.Parse(time.DateOnly, t.recorded)
		if err != nil {
			return t, apperror.InvalidField("FIELDS_INVALID", "talk.recorded_date", "there is no such day; use one such as 2019-05-03")
		}
		if time.Until(day) > dayAhead {
			return t, apperror.InvalidField("FIELDS_INVALID", "talk.recorded_date", "this day is in the future; use the day the talk was given")
		}
	}
	if t.duration < 0 || t.duration > longest {
		return t, apperror.InvalidField("FIELDS_INVALID", "talk.duration", "use at most seven days, or leave it empty")
	}
	return t, nil
}

// cleanName returns a name in its clean form, or a failure about its field.
func cleanName(field, name string) (string, error) {
	clean, err := names.Clean(name)
	if err != nil {
		return "", apperror.InvalidField("FIELDS_INVALID", field, err.Error())
	}
	return clean, nil
}

// cleanNames returns names in their clean form, once each and without empty ones.
func cleanNames(field string, all []string) ([]string, error) {
	kept := []string{}
	for i, name := range all {
		if strings.TrimSpace(name) == "" {
			continue
		}
		clean, err := cleanName(fmt.Sprintf("%s[%d]", field, i), name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(kept, clean) {
			kept = append(kept, clean)
		}
	}
	return kept, nil
}

// tries bounds the attempts to find a name that nobody has.
const tries = 5

// publish makes a talk public on a channel of the person's and says so. The
// talk, its message and the request that it answers are there together or not
// at all. The same request again finds the same talk, and says nothing twice.
func (m *Module) publish(ctx context.Context, person caller.Person, slug, requestID string, t talk) (talk, error) {
	t, err := t.normal()
	if err != nil {
		return talk{}, err
	}
	t.slug = slugOf(t.title)
	for range tries {
		made, err := m.publishAs(ctx, person, slug, requestID, t)
		if !errors.Is(err, errNameTaken) {
			return made, err
		}
		t.slug = strings.TrimSuffix(slugOf(t.title), "-") + "-" + chance()
	}
	return talk{}, errNameTaken
}

func (m *Module) publishAs(ctx context.Context, person caller.Person, slug, requestID string, t talk) (made talk, err error) {
	err = m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		// The row lock makes the same form, sent twice at once, wait here; the
		// second finds the first's talk.
		t.channel, err = m.store.lockChannel(ctx, tx, slug)
		if err != nil {
			return err
		}
		if !t.channel.ownedBy(person) {
			return errNotOwner
		}
		if requestID != "" {
			before, found, err := m.store.requested(ctx, tx, person.ID, requestID)
			if err != nil || found {
				made = before
				return err
			}
		}
		if made, err = m.store.addTalk(ctx, tx, t); err != nil {
			return err
		}
		if requestID != "" {
			if err := m.store.noteRequest(ctx, tx, person.ID, requestID, made.id); err != nil {
				return err
			}
		}
		return m.sayPublished(ctx, tx, made)
	})
	return made, err
}

// sayPublished says that a talk is public.
func (m *Module) sayPublished(ctx context.Context, tx *postgres.Tx, t talk) error {
	_, err := m.needs.Publisher.Publish(ctx, tx, queue.Message{
		Exchange: exchange, RoutingKey: published, Type: published, Body: t.publication(),
	})
	return err
}

// publication is what is said of a published talk: all that who hears it shows.
func (t talk) publication() *talkspb.TalkPublished {
	return &talkspb.TalkPublished{
		Talk: t.name(), Title: t.title, Channel: "channels/" + t.channel.slug, ChannelId: t.channel.id,
		ChannelTitle: t.channel.title, PublishTime: timestamppb.New(t.published), Number: t.number,
	}
}

// sayWithdrawn says that nobody finds a talk any more.
func (m *Module) sayWithdrawn(ctx context.Context, tx *postgres.Tx, name, recording string) error {
	_, err := m.needs.Publisher.Publish(ctx, tx, queue.Message{
		Exchange: exchange, RoutingKey: withdrawn, Type: withdrawn,
		Body: &talkspb.TalkWithdrawn{Talk: name, Recording: recording},
	})
	return err
}

// change edits a talk of the person's. edit is given it as it is.
func (m *Module) change(ctx context.Context, person caller.Person, channelSlug, slug string, edit func(*talk)) (changed talk, err error) {
	err = m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		is, err := m.store.lockTalk(ctx, tx, channelSlug, slug)
		switch {
		case err != nil:
			return err
		case !is.channel.ownedBy(person):
			return errNotOwner
		case is.withdrawn:
			return errWithdrawn
		}
		edit(&is)
		if changed, err = is.normal(); err != nil {
			return err
		}
		return m.store.changeTalk(ctx, tx, changed)
	})
	return changed, err
}

// withdraw takes a talk of the person's back.
func (m *Module) withdraw(ctx context.Context, person caller.Person, channelSlug, slug string) error {
	return m.needs.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		is, err := m.store.lockTalk(ctx, tx, channelSlug, slug)
		switch {
		case err != nil:
			return err
		case !is.channel.ownedBy(person):
			return errNotOwner
		case is.withdrawn:
			return nil
		}
		if err := m.store.withdrawTalk(ctx, tx, is); err != nil {
			return err
		}
		return m.sayWithdrawn(ctx, tx, is.name(), is.recording)
	})
}
