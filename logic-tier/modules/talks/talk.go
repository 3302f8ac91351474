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

// talk is a published talk.
type talk struct {
	id                 int64
	slug, title        string
	speakers, tags     []string
	language, mediaURL string
	description        string
	recording          string        // name of the stored recording; empty if there is none
	number             int64         // among the channel's publications; 0 if imported, or older than numbering
	duration           time.Duration // 0 if unknown
	recorded           string        // a date; empty if unknown
	published, updated time.Time
	withdrawn          bool
	channel            channel
}

func (t talk) name() string { return "channels/" + t.channel.slug + "/talks/" + t.slug }

// maxDuration bounds the duration of a talk. Its seconds fit the column many times over.
const maxDuration = 7 * 24 * time.Hour

// futureTolerance allows a recorded date that has begun in a time zone ahead of UTC.
const futureTolerance = 24 * time.Hour

// normalize returns t as it is stored: names cleaned, tags in lower case, speakers and
// tags without duplicates. A talk must have a title.
func (t talk) normalize() (_ talk, err error) {
	t.description = strings.TrimSpace(t.description)
	if t.title, err = cleanName("talk.title", t.title); err != nil {
		return t, err
	}
	if t.speakers, err = cleanNames("talk.speakers", t.speakers); err != nil {
		return t, err
	}
	tags := make([]string, len(t.tags))
	for i, tag := range t.tags {
		tags[i] = strings.ToLower(tag)
	}
	if t.tags, err = cleanNames("talk.tags", tags); err != nil {
		return t, err
	}
	if t.recorded != "" {
		day, err := time.Parse(time.DateOnly, t.recorded)
		if err != nil {
			return t, apperror.InvalidField("FIELDS_INVALID", "talk.recorded_date", "this is not a valid date; use a date such as 2019-05-03")
		}
		if time.Until(day) > futureTolerance {
			return t, apperror.InvalidField("FIELDS_INVALID", "talk.recorded_date", "this date is in the future; use the date of the talk")
		}
	}
	if t.duration < 0 || t.duration > maxDuration {
		return t, apperror.InvalidField("FIELDS_INVALID", "talk.duration", "use at most seven days, or leave it empty")
	}
	return t, nil
}

// cleanName returns a cleaned name, or a failure that names the field.
func cleanName(field, name string) (string, error) {
	clean, err := names.Clean(name)
	if err != nil {
		return "", apperror.InvalidField("FIELDS_INVALID", field, err.Error())
	}
	return clean, nil
}

// cleanNames returns cleaned names, without duplicates and empty ones.
func cleanNames(field string, raw []string) ([]string, error) {
	cleaned := []string{}
	for i, name := range raw {
		if strings.TrimSpace(name) == "" {
			continue
		}
		clean, err := cleanName(fmt.Sprintf("%s[%d]", field, i), name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(cleaned, clean) {
			cleaned = append(cleaned, clean)
		}
	}
	return cleaned, nil
}

// maxSlugAttempts bounds the attempts to find a slug that is not taken.
const maxSlugAttempts = 5

// publish publishes a talk on a channel that the person owns. The talk, its message and
// its request id commit together. publish is idempotent: the same request id returns the
// same talk, without a second message.
func (m *Module) publish(ctx context.Context, person caller.Person, slug, requestID string, t talk) (talk, error) {
	t, err := t.normalize()
	if err != nil {
		return talk{}, err
	}
	t.slug = slugOf(t.title)
	for range maxSlugAttempts {
		created, err := m.tryPublish(ctx, person, slug, requestID, t)
		if !errors.Is(err, errTalkExists) {
			return created, err
		}
		t.slug = strings.TrimSuffix(slugOf(t.title), "-") + "-" + randomSuffix()
	}
	return talk{}, errTalkExists
}

// tryPublish publishes a talk under its slug. It fails with errTalkExists if the slug is
// taken.
func (m *Module) tryPublish(ctx context.Context, person caller.Person, slug, requestID string, t talk) (created talk, err error) {
	err = m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		// Of two concurrent requests with the same id, the second waits for the row lock
		// and then finds the talk of the first.
		t.channel, err = m.store.lockChannel(ctx, tx, slug)
		if err != nil {
			return err
		}
		if !t.channel.ownedBy(person) {
			return errNotOwner
		}
		if requestID != "" {
			existing, found, err := m.store.talkOfRequest(ctx, tx, person.ID, requestID)
			if err != nil || found {
				created = existing
				return err
			}
		}
		if created, err = m.store.addTalk(ctx, tx, t); err != nil {
			return err
		}
		if requestID != "" {
			if err := m.store.addRequest(ctx, tx, person.ID, requestID, created.id); err != nil {
				return err
			}
		}
		return m.publishTalkPublished(ctx, tx, created)
	})
	return created, err
}

// publishTalkPublished publishes talk.published.
func (m *Module) publishTalkPublished(ctx context.Context, tx *postgres.Tx, t talk) error {
	_, err := m.deps.Publisher.Publish(ctx, tx, queue.Message{
		Exchange: exchange, RoutingKey: publishedType, Type: publishedType, Body: t.publication(),
	})
	return err
}

// publication returns the body of the talk's talk.published message. It has everything
// that consumers display.
func (t talk) publication() *talkspb.TalkPublished {
	return &talkspb.TalkPublished{
		Talk: t.name(), Title: t.title, Channel: "channels/" + t.channel.slug, ChannelId: t.channel.id,
		ChannelTitle: t.channel.title, PublishTime: timestamppb.New(t.published), Number: t.number,
	}
}

// publishTalkWithdrawn publishes talk.withdrawn.
func (m *Module) publishTalkWithdrawn(ctx context.Context, tx *postgres.Tx, name, recording string) error {
	_, err := m.deps.Publisher.Publish(ctx, tx, queue.Message{
		Exchange: exchange, RoutingKey: withdrawnType, Type: withdrawnType,
		Body: &talkspb.TalkWithdrawn{Talk: name, Recording: recording},
	})
	return err
}

// update applies edit to the stored version of a talk that the person owns.
func (m *Module) update(ctx context.Context, person caller.Person, channelSlug, slug string, edit func(*talk)) (updated talk, err error) {
	err = m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		t, err := m.store.lockTalk(ctx, tx, channelSlug, slug)
		switch {
		case err != nil:
			return err
		case !t.channel.ownedBy(person):
			return errNotOwner
		case t.withdrawn:
			return errWithdrawn
		}
		edit(&t)
		if updated, err = t.normalize(); err != nil {
			return err
		}
		return m.store.updateTalk(ctx, tx, updated)
	})
	return updated, err
}

// withdraw withdraws a talk that the person owns. It is idempotent.
func (m *Module) withdraw(ctx context.Context, person caller.Person, channelSlug, slug string) error {
	return m.deps.DB.InTransaction(ctx, func(tx *postgres.Tx) error {
		t, err := m.store.lockTalk(ctx, tx, channelSlug, slug)
		switch {
		case err != nil:
			return err
		case !t.channel.ownedBy(person):
			return errNotOwner
		case t.withdrawn:
			return nil
		}
		if err := m.store.withdrawTalk(ctx, tx, t); err != nil {
			return err
		}
		return m.publishTalkWithdrawn(ctx, tx, t.name(), t.recording)
	})
}
